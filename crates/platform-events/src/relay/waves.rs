//! In which order a batch goes out.

use std::collections::{HashMap, HashSet};

use super::lane::Row;

/// Events in groups without two of the same key, each after the one before it of its key.
///
/// The broker has refused one of the `suspects`; they go first and one by one, so that it shows
/// which one it is. Each of them is the first of its key.
pub(super) fn waves<'a>(batch: &[&'a Row], suspects: &HashSet<i64>) -> Vec<Vec<&'a Row>> {
    let mut alone: Vec<Vec<&Row>> = Vec::new();
    let mut waves: Vec<Vec<&Row>> = Vec::new();
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    for row in batch {
        let key = (row.topic.as_str(), row.event.key.as_str());
        if suspects.contains(&row.sequence) && !counts.contains_key(&key) {
            alone.push(vec![row]);
            counts.insert(key, 0);
            continue;
        }
        let count = counts.entry(key).or_default();
        if waves.len() == *count {
            waves.push(Vec::new());
        }
        waves[*count].push(row);
        *count += 1;
    }
    alone.append(&mut waves);
    alone
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Actor;
    use crate::envelope::Envelope;

    fn rows(keys: &str) -> Vec<Row> {
        keys.chars()
            .zip(1..)
            .map(|(key, sequence)| Row {
                lane: 0,
                sequence,
                topic: "events.thing".to_owned(),
                event: Envelope {
                    id: Uuid::now_v7(),
                    source: String::new(),
                    name: String::new(),
                    schema: String::new(),
                    time: platform::time::now(),
                    key: key.to_string(),
                    version: 1,
                    actor: Actor::nobody(),
                    traceparent: String::new(),
                },
                payload: Vec::new(),
                behind: false,
            })
            .collect()
    }

    fn sequences(keys: &str, suspects: &[i64]) -> Vec<Vec<i64>> {
        let rows = rows(keys);
        let batch: Vec<&Row> = rows.iter().collect();
        waves(&batch, &suspects.iter().copied().collect())
            .iter()
            .map(|wave| wave.iter().map(|row| row.sequence).collect())
            .collect()
    }

    #[test]
    fn a_key_comes_once_in_a_wave_and_in_order() {
        assert_eq!(
            sequences("abacab", &[]),
            [vec![1, 2, 4], vec![3, 6], vec![5]]
        );
        assert_eq!(sequences("", &[]), Vec::<Vec<i64>>::new());
    }

    #[test]
    fn suspects_go_first_and_alone() {
        assert_eq!(
            sequences("abacab", &[1, 4]),
            [vec![1], vec![4], vec![2, 3], vec![5, 6]]
        );
    }

    #[test]
    fn a_suspect_does_not_overtake_its_key() {
        assert_eq!(sequences("aab", &[2]), [vec![1, 3], vec![2]]);
    }
}
