use prost::Message;
use serde_json::json;

use super::world::{Items, World, item, owner};
use super::{Path, hot, ordinary};

const QUERY: &str = "{ items { nodes { id title note nick colour mood price { amount currency } lastPrice { amount currency }
    createdAt endedAt count open known owner { name } } pageInfo { endCursor } } }";

/// Always the same sequence, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at.max(1)),
            3 => bytes.insert(at, [0x80, 0xff, 0x0b, 0x00][random.below(4)]),
            4 => {
                let end = (at + random.below(20)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                bytes.remove(at);
                bytes.push(0);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn mutated_answers_are_read_as_by_the_decoder_or_are_an_error() {
    let items = Items {
        rows: (0..2).map(item).collect(),
        next_page_token: "next".to_owned(),
    };
    let bytes = items.encode_to_vec();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut same, mut refused) = (0, 0);
    let mut path = Path::<hot::Query>::new(World::new(&items, Vec::new()));
    let mut by_decoder = Path::<ordinary::Query>::new(World::new(&items, Vec::new()));
    for round in 0..10_000 {
        let bytes = mutated(&bytes, &mut random);
        let world = World::of_bytes(bytes.clone().into(), (0..3).map(owner).collect());
        path.world = world.clone();
        let hot = path.ask(QUERY, json!({})).await;
        let read: serde_json::Value = serde_json::from_str(&hot.data).unwrap();
        for error in &hot.errors {
            assert_eq!(error["extensions"]["code"], "INTERNAL", "{round}");
        }
        if Items::decode(bytes.as_slice()).is_err() {
            // All fields are asked for, so what the decoder refuses is seen.
            assert!(!hot.errors.is_empty(), "{round}: {read} {bytes:02x?}");
            refused += 1;
            continue;
        }
        by_decoder.world = world;
        let ordinary = by_decoder.ask(QUERY, json!({})).await;
        if hot == ordinary {
            same += 1;
        } else {
            // Only a group is refused here and read there.
            assert!(
                !hot.errors.is_empty(),
                "{round}: {read} {ordinary:?} {bytes:02x?}"
            );
        }
    }
    assert!(same > 300 && refused > 300, "{same} {refused}");
}
