use clap::Args;

use crate::config::http_url;

/// Which spans are recorded, and where they go.
#[derive(Args, Clone, Debug)]
pub struct TelemetryArgs {
    /// A collector of spans that speaks OTLP over gRPC, as in http://127.0.0.1:4317; without one, none are recorded.
    #[arg(env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector)]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// Share of traces that are recorded, from 0 to 1, of those that begin here; of others the caller decides.
    #[arg(env = "OTEL_TRACES_SAMPLER_ARG", default_value = "1", value_parser = share)]
    pub otel_traces_sampler_arg: f64,
}

/// The way to a collector is encrypted by the mesh, as all others.
fn collector(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    match url.starts_with("http://") {
        true => Ok(url),
        false => Err("the scheme is not http".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err("not from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_nothing_to_all() {
        for (text, value) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0), ("1.0", 1.0)] {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for bad in ["", "-0.1", "1.1", "NaN", "inf", "half"] {
            assert!(share(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_collector_is_reached_without_tls_and_password() {
        assert!(collector("http://127.0.0.1:4317/").is_ok());
        for bad in ["https://otel:4317", "otel:4317", "http://a:b@otel:4317"] {
            assert!(collector(bad).is_err(), "{bad:?}");
        }
    }
}
