//! A token that was verified before, and a value that lies in Redis beside a raw client.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use api::homeward::catalog::v1::Offer;
use bytes::Bytes;
use platform::auth::Verifier;
use platform::config::AuthArgs;
use platform_cache::fred::interfaces::KeysInterface;
use platform_cache::{Cache, Loaded, Settings};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use super::{Bench, PATIENCE, process};

const VERIFICATIONS: u32 = 20_000;
const BATCHES: usize = 50;
const KEYS: u64 = 100;

/// The fastest of many batches: others on the machine can only add.
pub(super) async fn token(bench: &Bench) -> anyhow::Result<()> {
    let auth: AuthArgs = platform::config::parse("bench", &bench.issuer.vars())?;
    let verifier = Verifier::new(&auth);
    let token = bench.token();
    let began = Instant::now();
    verifier.verify(&token).await?;
    let first = began.elapsed();
    let mut batches = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let began = Instant::now();
        for _ in 0..VERIFICATIONS {
            std::hint::black_box(verifier.verify(&token).await?);
        }
        batches.push(began.elapsed() / VERIFICATIONS);
    }
    batches.sort_unstable();
    println!(
        "a token of {} bytes: {first:?} the first time with the keys to fetch, then {:?} each \
         (median {:?})\n",
        token.len(),
        batches[0],
        batches[BATCHES / 2],
    );
    Ok(())
}

/// Reads of one key and of 100, by the client that the cache has as well.
pub(super) async fn redis(bench: &Bench) -> anyhow::Result<()> {
    let mut args = bench.config.redis.clone();
    // Nothing may be missing because the machine is busy.
    args.redis_timeout = Duration::from_secs(2);
    let redis = args.connect("bench", &mut Registry::default())?;
    let began = Instant::now();
    while !redis.there() {
        ensure!(began.elapsed() < PATIENCE, "there is no Redis");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let client = redis.ask("CLIENT", async |client| Ok(client)).await?;
    let settings = Settings {
        name: "offers",
        life_max: Duration::from_secs(3600),
        value_bytes_max: 64 << 10,
    };
    let cache: Cache<Offer, 1> = Cache::new(&redis, settings);
    let keys: Arc<[u64]> = (0..KEYS).collect();
    let names: Arc<[String]> = keys
        .iter()
        .map(|key| redis.key(&format!("offers:{key}")))
        .collect();
    let load = async |keys: Vec<u64>| anyhow::Ok(keys.into_iter().map(loaded).collect());
    let filled = cache.get(&keys, load).await?;
    ensure!(
        filled.iter().flatten().count() == keys.len(),
        "not all was loaded"
    );
    let stored: Vec<Option<Bytes>> = client.mget(names.to_vec()).await?;
    ensure!(
        stored.iter().flatten().count() == keys.len(),
        "not all was stored"
    );

    println!(
        "{:<36}{:>12}{:>10}{:>8}{:>9}",
        "a value of 600 bytes in Redis", "per CPU s", "us each", "A/A", "ratio"
    );
    for count in [1, keys.len()] {
        let raw = {
            let (client, names) = (client.clone(), names.clone());
            move |number: usize| {
                let (client, names) = (client.clone(), names.clone());
                async move {
                    let found = if count == 1 {
                        vec![client.get(&names[number % names.len()]).await?]
                    } else {
                        client.mget::<Vec<Option<Bytes>>, _>(names.to_vec()).await?
                    };
                    ensure!(
                        found.iter().flatten().count() == count,
                        "something is missing"
                    );
                    Ok(())
                }
            }
        };
        let hit = {
            let (cache, keys) = (cache.clone(), keys.clone());
            move |number: usize| {
                let (cache, keys) = (cache.clone(), keys.clone());
                async move {
                    let first = if count == 1 { number % keys.len() } else { 0 };
                    let missing = async |_| Err(anyhow!("something is missing"));
                    let found = cache.get(&keys[first..first + count], missing).await?;
                    ensure!(
                        found.iter().flatten().count() == count,
                        "something is missing"
                    );
                    Ok(())
                }
            }
        };
        let args = &bench.args;
        let (mut raws, mut hits) = (Vec::new(), Vec::new());
        for pass in 0..args.passes {
            if pass % 2 == 0 {
                raws.push(rate(args.connections, args.time, raw.clone()).await?);
                hits.push(rate(args.connections, args.time, hit.clone()).await?);
            } else {
                hits.push(rate(args.connections, args.time, hit.clone()).await?);
                raws.push(rate(args.connections, args.time, raw.clone()).await?);
            }
        }
        let (command, what) = if count == 1 {
            ("GET", "hit")
        } else {
            ("MGET of 100", "hits, 100 at once")
        };
        print(&format!("raw client, {command}"), &raws, &raws);
        print(&format!("cache, {what}"), &hits, &raws);
    }
    println!();
    Ok(())
}

fn print(name: &str, rates: &[f64], beside: &[f64]) {
    let mean =
        |rates: &[f64]| rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>();
    let (first, second) = rates.split_at(rates.len() / 2);
    println!(
        "{name:<36}{:>12.0}{:>10.1}{:>8.2}{:>9.3}",
        mean(rates),
        1e6 / mean(rates),
        mean(second) / mean(first),
        mean(rates) / mean(beside),
    );
}

/// How often something can be done in a second of this process's processor time.
async fn rate<F, O>(at_once: usize, time: Duration, operation: O) -> anyhow::Result<f64>
where
    O: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let before = process::cpu("self")?;
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for task in 0..at_once {
        let operation = operation.clone();
        tasks.spawn(async move {
            let mut done = 0_usize;
            while Instant::now() < until {
                operation(task + done).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(task) = tasks.join_next().await {
        done += task??;
    }
    let cpu = process::cpu("self")? - before;
    #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
    Ok(done as f64 / cpu.as_secs_f64())
}

fn loaded(key: u64) -> Loaded<u64, Offer, 1> {
    let value = Offer {
        id: format!("00000000-0000-7000-8000-{key:012}"),
        title: "Two movers and a van for half a day in Köln-Ehrenfeld".to_owned(),
        description: "Two experienced movers and a 3.5 t van with tail lift. ".repeat(9),
        area: "koeln-ehrenfeld".to_owned(),
        version: 1,
        ..Offer::default()
    };
    Loaded {
        key,
        versions: [1],
        value,
    }
}
