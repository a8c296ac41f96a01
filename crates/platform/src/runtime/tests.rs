use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::*;

#[derive(Args)]
struct Config {
    #[command(flatten)]
    http: HttpArgs,
}

fn config() -> Config {
    let any_port = [("LISTEN_HTTP".to_owned(), "127.0.0.1:0".to_owned())].into();
    crate::config::parse("test", &any_port).unwrap()
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_service_runs_in_process_and_stops() {
    let healed = Arc::new(Notify::new());
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let start = {
        let (healed, well) = (healed.clone(), well.clone());
        async move |rt: &mut Runtime, config: Config| {
            rt.http(
                &config.http,
                Router::new().route("/", axum::routing::get("hello")),
            );
            let seen = well.clone();
            rt.ready_when("patient", move || {
                let well = seen.load(std::sync::atomic::Ordering::Relaxed);
                async move { if well { Ok(()) } else { Err("ill".to_owned()) } }
            });
            rt.spawn("healer", async move |stop| {
                healed.notified().await;
                well.store(true, std::sync::atomic::Ordering::Relaxed);
                stop.cancelled().await;
                Ok(())
            });
            Ok(())
        }
    };
    let running = run_in_process("test", start, config()).await.unwrap();
    assert!(get(running.http.unwrap(), "/").await.ends_with("hello"));
    assert!(get(running.admin, "/live").await.contains("200 OK"));
    let unready = get(running.admin, "/ready").await;
    assert!(
        unready.contains("503") && unready.contains(r#"{"patient":"ill"}"#),
        "{unready}"
    );
    healed.notify_one();
    running.ready().await;
    assert!(get(running.admin, "/ready").await.contains("200 OK"));

    let metrics = get(running.admin, "/metrics").await;
    assert!(
        metrics.contains("application/openmetrics-text"),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"build_info{service="test""#),
        "{metrics}"
    );
    assert!(
        metrics.contains("http_server_request_duration_seconds_count"),
        "{metrics}"
    );

    let addr = running.http.unwrap();
    running.stop().await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_task_that_ends_fails_or_panics_ends_the_service() {
    async fn ending(rt: &mut Runtime, kind: &'static str) -> anyhow::Result<()> {
        rt.spawn("frail", async move |_stop| match kind {
            "ends" => Ok(()),
            "fails" => anyhow::bail!("out of luck"),
            _ => panic!("planted"),
        });
        Ok(())
    }
    for (kind, said) in [
        ("ends", "task frail ended"),
        ("fails", "task frail failed: out of luck"),
        ("panics", "task frail failed: panicked"),
    ] {
        let running = run_in_process("test", ending, kind).await.unwrap();
        running.ready().await;
        let error = running.stop().await.unwrap_err();
        assert_eq!(format!("{error:#}"), said);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_fails_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.http.listen_http = taken.local_addr().unwrap();
    let start = async |rt: &mut Runtime, config: Config| {
        rt.http(&config.http, Router::new());
        Ok(())
    };
    let error = run_in_process("test", start, config).await.err().unwrap();
    assert!(
        format!("{error:#}").contains("(LISTEN_HTTP): Address already in use"),
        "{error:#}"
    );
}
