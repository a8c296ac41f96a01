//! Read-through: what is asked for comes from Redis or is loaded, and is then stored there.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::KeysInterface;
use fred::types::Value;
use prost::Message;
use tokio::task::JoinHandle;

use crate::entry::{self, FILL, Held, LEASE, RAISE, Token};
use crate::flights::{Flights, Lead, Shared};
use crate::metrics::{Fill, Read};
use crate::owed::Owed;
use crate::redis::{Redis, Unavailable};

/// How long it is remembered which versions a key has at least: longer than a reading replica of
/// the database may be behind, and than any load takes.
const MARK_LIFE: Duration = Duration::from_mins(1);
/// How often what is owed is tried again.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// Keys in one script of many.
const BATCH: usize = 200;

/// Limits of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Stands in every key; another one for another meaning of the value.
    pub name: &'static str,
    /// Longest life of a value, and of the knowledge that there is none.
    pub life_max: Duration,
    /// Larger values are not stored.
    pub value_bytes_max: usize,
}

/// What a load has found under a key.
#[derive(Clone, Debug)]
pub struct Loaded<K, V, const N: usize> {
    /// One of the keys asked for.
    pub key: K,
    /// The versions of the value, read in the same statement.
    pub versions: [i64; N],
    /// The value.
    pub value: V,
}

/// Values with `N` versions each, one per topic that tells of their changes. Cheap to clone.
///
/// What is read was true at some moment after it was asked for, or some invalidation of it is
/// still under way: see the README.
#[derive(Clone)]
pub struct Cache<V, const N: usize> {
    inner: Arc<Inner<V, N>>,
    /// Ends with the last handle.
    _settling: Arc<AbortOnDrop>,
}

struct Inner<V, const N: usize> {
    redis: Redis,
    settings: Settings,
    flights: Flights<V>,
    owed: Owed<N>,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<V, const N: usize> Cache<V, N>
where
    V: Message + Clone + Default + 'static,
{
    /// Inside a Tokio runtime.
    pub fn new(redis: &Redis, settings: Settings) -> Self {
        let inner = Arc::new(Inner {
            redis: redis.clone(),
            settings,
            flights: Flights::new(),
            owed: Owed::default(),
        });
        let settling = tokio::spawn(settle(Arc::clone(&inner)));
        Self {
            inner,
            _settling: Arc::new(AbortOnDrop(settling)),
        }
    }

    /// The values of these keys, in the order asked; nothing where there is none. `load` is asked
    /// for those that are not in Redis, and answers those that exist.
    ///
    /// Fails only as `load` does.
    pub async fn get<K, E, F>(
        &self,
        keys: &[K],
        load: impl Fn(Vec<K>) -> F,
    ) -> Result<Vec<Option<V>>, E>
    where
        K: Copy + Display + Eq + Hash,
        F: Future<Output = Result<Vec<Loaded<K, V, N>>, E>>,
    {
        let inner = &*self.inner;
        let names: Vec<String> = keys.iter().map(|key| inner.name(key)).collect();
        let mut answers: Vec<Option<V>> = vec![None; keys.len()];
        let mut open: Vec<usize> = (0..keys.len()).collect();
        // What is loaded without Redis, and without others.
        let mut alone = Vec::new();
        while !open.is_empty() {
            let arrival = inner.flights.arrive();
            let (owed, asked) = inner.owed.split(std::mem::take(&mut open), &names);
            alone.extend(owed);
            let Ok(found) = inner.find(&asked, &names).await else {
                alone.extend(asked);
                break;
            };
            let mut missing = Vec::new();
            for (place, held) in asked.into_iter().zip(found) {
                match Held::parse::<N>(held) {
                    Held::Value(value) => {
                        inner.count("hit", 1);
                        answers[place] = value;
                    }
                    Held::Mark(token) => missing.push((place, names[place].clone(), token)),
                    Held::Damaged => alone.push(place),
                }
            }
            let (lead, seats) = inner.flights.board(arrival, missing);
            inner.count("shared", seats.len());
            if !lead.is_empty() {
                inner.lead(lead, keys, &load, &mut answers).await?;
            }
            for (place, seat) in seats {
                match seat.landed().await {
                    Shared::Loaded(value) => answers[place] = value,
                    Shared::Failed => alone.push(place),
                    Shared::Abandoned => open.push(place),
                }
            }
        }
        if !alone.is_empty() {
            inner.count("bypass", alone.len());
            let found = by_key(load(alone.iter().map(|place| keys[*place]).collect()).await?);
            for place in alone {
                // Not taken out: a key may be asked for twice.
                answers[place] = found.get(&keys[place]).map(|found| found.value.clone());
            }
        }
        Ok(answers)
    }

    /// Nothing older than these versions is true any more: call it after the commit, and again
    /// for every event, of which it may be told late and more than once. A version that is not
    /// known is 0.
    ///
    /// Takes effect on this process at once, and on others as soon as Redis is there.
    pub async fn invalidate(&self, key: impl Display, versions: [i64; N]) {
        let name = self.inner.name(&key);
        // First, in case that the future is dropped.
        self.inner.owed.add(&name, versions);
        let _ = self.inner.raise(&[(name, versions)]).await;
    }
}

impl<V, const N: usize> Inner<V, N>
where
    V: Message + Clone + Default + 'static,
{
    fn name(&self, key: &dyn Display) -> String {
        self.redis.key(&format!("{}:{key}", self.settings.name))
    }

    async fn find(
        &self,
        places: &[usize],
        names: &[String],
    ) -> Result<Vec<Option<Bytes>>, Unavailable> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = places.iter().map(|place| names[*place].as_str()).collect();
        self.redis
            .ask("MGET", |client| async move { client.mget(names).await })
            .await
    }

    /// Loads keys for all who wait for them.
    async fn lead<K, E, F>(
        &self,
        lead: Lead<'_, V>,
        keys: &[K],
        load: &impl Fn(Vec<K>) -> F,
        answers: &mut [Option<V>],
    ) -> Result<(), E>
    where
        K: Copy + Display + Eq + Hash,
        F: Future<Output = Result<Vec<Loaded<K, V, N>>, E>>,
    {
        let asked: Vec<(usize, String)> = lead
            .keys()
            .map(|(place, name)| (place, name.to_owned()))
            .collect();
        // The mark comes before the SELECT, so that nothing can be missed in between.
        let leased = self.lease(&lead).await;
        let leased = leased.unwrap_or_else(|_| vec![None; asked.len()]);
        let mut missing = Vec::new();
        for ((place, name), held) in asked.into_iter().zip(leased) {
            match Held::parse::<N>(held) {
                Held::Value(value) => {
                    self.count("hit", 1);
                    lead.loaded(place, &value);
                    answers[place] = value;
                }
                Held::Mark(token) => missing.push((place, name, token)),
                Held::Damaged => missing.push((place, name, None)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.count("miss", missing.len());
        for (_, name, token) in &missing {
            lead.begins(name, *token);
        }
        let found = match load(missing.iter().map(|(place, ..)| keys[*place]).collect()).await {
            Ok(found) => found,
            Err(error) => {
                lead.failed();
                return Err(error);
            }
        };
        let mut found = by_key(found);
        let mut fills = Vec::new();
        for (place, name, token) in missing {
            let (versions, value) = match found.remove(&keys[place]) {
                Some(found) => (found.versions, Some(found.value)),
                None => ([0; N], None),
            };
            if let Some(token) = token {
                fills.push((name, token, entry::write(versions, value.as_ref())));
            }
            lead.loaded(place, &value);
            answers[place] = value;
        }
        // The load is over only then: who comes now finds it, or what it has stored.
        self.fill(fills).await;
        Ok(())
    }

    async fn lease(&self, lead: &Lead<'_, V>) -> Result<Vec<Option<Bytes>>, Unavailable> {
        let names = lead.keys().map(|(_, name)| name.to_owned()).collect();
        let arguments = vec![
            Bytes::copy_from_slice(&lead.token()).into(),
            number(N),
            number(MARK_LIFE.as_millis()),
        ];
        self.redis.run(&LEASE, names, arguments).await
    }

    async fn fill(&self, fills: Vec<(String, Token, Bytes)>) {
        let mut names = Vec::new();
        let mut arguments = vec![number(N)];
        for (name, token, entry) in fills {
            if entry.len() > self.settings.value_bytes_max {
                self.count_fill("large", 1);
                continue;
            }
            let life = self.life(names.len(), token);
            names.push(name);
            let token = Bytes::copy_from_slice(&token);
            arguments.extend([token.into(), entry.into(), number(life.as_millis())]);
        }
        if names.is_empty() {
            return;
        }
        let count = names.len();
        match self.redis.run::<Vec<i64>>(&FILL, names, arguments).await {
            Ok(stored) => {
                let stored = stored.into_iter().filter(|stored| *stored == 1).count();
                self.count_fill("stored", stored);
                self.count_fill("refused", count - stored);
            }
            Err(_) => self.count_fill("failed", count),
        }
    }

    /// Between four fifths and all of the longest life, so that what was stored together
    /// does not expire together.
    fn life(&self, place: usize, token: Token) -> Duration {
        let [.., number] = u128::from_be_bytes(token).to_be_bytes();
        let spread = (usize::from(number) * 37 + place * 101) % 256;
        self.settings
            .life_max
            .mul_f64(1.0 - spread as f64 / 256.0 / 5.0)
    }

    /// Tells Redis of versions.
    async fn raise(&self, keys: &[(String, [i64; N])]) -> Result<(), Unavailable> {
        let names = keys.iter().map(|(name, _)| name.clone()).collect();
        let mut arguments = vec![number(N), number(MARK_LIFE.as_millis())];
        for (_, versions) in keys {
            arguments.push(Bytes::from(entry::write_versions(*versions)).into());
        }
        self.redis.run::<i64>(&RAISE, names, arguments).await?;
        for (name, versions) in keys {
            self.owed.paid(name, *versions);
        }
        Ok(())
    }

    fn count(&self, outcome: &'static str, count: usize) {
        if count > 0 {
            let cache = self.settings.name;
            let reads = &self.redis.metrics().reads;
            reads
                .get_or_create(&Read { cache, outcome })
                .inc_by(count as u64);
        }
    }

    fn count_fill(&self, outcome: &'static str, count: usize) {
        if count > 0 {
            let cache = self.settings.name;
            let fills = &self.redis.metrics().fills;
            fills
                .get_or_create(&Fill { cache, outcome })
                .inc_by(count as u64);
        }
    }
}

/// Tells Redis of invalidations that it has not confirmed, as soon as it is there.
async fn settle<V, const N: usize>(inner: Arc<Inner<V, N>>)
where
    V: Message + Clone + Default + 'static,
{
    loop {
        inner.owed.wake.notified().await;
        loop {
            tokio::time::sleep(SETTLE_EVERY).await;
            let some = inner.owed.some(BATCH);
            if some.is_empty() {
                inner.owed.settled(inner.settings.life_max);
                break;
            }
            let _ = inner.raise(&some).await;
        }
    }
}

fn by_key<K, V, const N: usize>(found: Vec<Loaded<K, V, N>>) -> HashMap<K, Loaded<K, V, N>>
where
    K: Copy + Eq + Hash,
{
    found.into_iter().map(|found| (found.key, found)).collect()
}

fn number(number: impl Display) -> Value {
    number.to_string().into()
}
