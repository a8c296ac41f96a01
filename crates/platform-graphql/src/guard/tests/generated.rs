//! Whatever the shape of a document, counting looks at each definition once.

use std::fmt::Write;

use super::zoo::{checker, run};
use super::{FINE, INVALID, LARGE};
use crate::guard::{Limits, Open, Work};

const SEED: u64 = 0x005e_ed0f_900d_d065;
const DOCUMENTS: usize = 10_000;

/// xorshift64*, so that the documents are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

struct Generator {
    random: Random,
    fragments: usize,
    /// Fragments spread later ones only, unless circles are wanted.
    circles: bool,
    spread: Vec<bool>,
    aliases: usize,
    text: String,
}

impl Generator {
    fn document(mut random: Random) -> Generator {
        let fragments = random.below(30);
        let circles = random.one_in(10);
        let mut generator = Generator {
            random,
            fragments,
            circles,
            spread: vec![false; fragments],
            aliases: 0,
            text: String::new(),
        };
        for fragment in 0..fragments {
            write!(generator.text, "fragment F{fragment} on Dog {{ ").unwrap();
            generator.set(fragment + 1, 3);
            generator.text += "} ";
        }
        generator.text +=
            "query($n: Int, $of: [Int!] = [1]) { numbers(of: $of) dogs(first: $n) { name ";
        for fragment in 0..fragments {
            if !generator.spread[fragment] {
                write!(generator.text, "...F{fragment} ").unwrap();
            }
        }
        generator.text += "} ";
        for _ in 0..generator.random.below(3) {
            generator.list(0, 1);
        }
        generator.text += "}";
        generator
    }

    fn alias(&mut self) {
        self.aliases += 1;
        write!(self.text, "a{}: ", self.aliases).unwrap();
    }

    /// `first` of unknown size, of known size, or by a variable.
    fn list(&mut self, from: usize, depth: usize) {
        self.alias();
        let first = match self.random.below(4) {
            0 => String::new(),
            1 => "(first: $n)".to_owned(),
            _ => format!("(first: {})", self.random.below(5)),
        };
        let name = if depth == 1 { "dogs" } else { "puppies" };
        write!(self.text, "{name}{first} {{ ").unwrap();
        self.set(from, depth);
        self.text += "} ";
    }

    /// The selections of a dog; spreads are of fragments from `from` on.
    fn set(&mut self, from: usize, depth: usize) {
        self.text += "name ";
        for _ in 0..self.random.below(6) {
            match self.random.below(6) {
                0 => self.text += "barks ",
                1 => {
                    self.alias();
                    self.text += "barks ";
                }
                2 if depth < 6 => self.list(from, depth + 1),
                3 if depth < 6 => {
                    self.text += "... on Dog @include(if: true) { ";
                    self.set(from, depth + 1);
                    self.text += "} ";
                }
                _ => {
                    let from = if self.circles { 0 } else { from };
                    if from < self.fragments {
                        let fragment = from + self.random.below(self.fragments - from);
                        self.spread[fragment] = true;
                        write!(self.text, "...F{fragment} ").unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn counting_visits_each_definition_once_whatever_the_shape() {
    let (checker, mut random) = (checker(Open::ALL), Random(SEED));
    // Everything is allowed, so that nothing ends the count early.
    let limits = Limits {
        depth: 300,
        aliases: u64::MAX,
        root_fields: usize::MAX,
        ..Limits::default()
    };
    let (mut fine, mut invalid, mut large, mut worst) = (0, 0, 0, 0.0_f64);
    for _ in 0..DOCUMENTS {
        let generated = Generator::document(random);
        let mut work = Work::default();
        let answer = run(&checker, &generated.text, r#"{"n": 3}"#, &limits, &mut work);
        random = generated.random;
        match answer.map_or_else(|refusal| refusal.word, |_| FINE) {
            FINE => fine += 1,
            INVALID => invalid += 1,
            LARGE => large += 1,
            other => panic!("{other}: {}", generated.text),
        }
        assert!(
            work.counted <= 4 * work.tokens,
            "{work:?} {}",
            generated.text
        );
        assert!(
            work.merged <= 4 * limits.weight,
            "{work:?} {}",
            generated.text
        );
        worst = worst.max(work.counted as f64 / work.tokens as f64);
    }
    println!("{fine} fine, {invalid} invalid, {large} large; at worst {worst:.2} visits a token");
    assert!(
        fine > 500 && invalid > 500 && large > 500,
        "{fine} {invalid} {large}"
    );
}
