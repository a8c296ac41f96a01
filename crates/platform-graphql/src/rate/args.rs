//! How the limits are configured.

use std::str::FromStr;
use std::time::Duration;

use platform::config::Secret;

use super::Proxies;

/// Limits of what one caller may ask for.
#[derive(Clone, Debug, clap::Args)]
pub struct RateArgs {
    /// Requests from one address, which may be a whole office: `60000/1m`, or `off`.
    #[arg(env = "RATE_ADDRESS", default_value = "60000/1m")]
    pub rate_address: Rate,

    /// Requests of one user: `6000/1m`, or `off`.
    #[arg(env = "RATE_USER", default_value = "6000/1m")]
    pub rate_user: Rate,

    /// Cost of the documents of one user, or of one address where nobody is logged in, or `off`.
    #[arg(env = "RATE_COST", default_value = "10000000/1m")]
    pub rate_cost: Rate,

    /// Keys and quotas of applications, one a line or separated by commas:
    /// `web 0123456789abcdef 1000000/24h`. For the key its SHA-256 can stand, as `sha256:<hex>`.
    #[arg(env = "API_KEYS")]
    pub api_keys: Option<Secret>,

    /// Refuse requests without the key of an application.
    #[arg(env = "API_KEY_REQUIRED")]
    pub api_key_required: bool,

    /// Whose `X-Forwarded-For` counts, separated by commas: `10.0.0.0/8,fd00::/8`.
    #[arg(env = "TRUSTED_PROXIES")]
    pub trusted_proxies: Option<Proxies>,
}

/// So many units in a while; all of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// No limit.
    Off,
    /// A limit.
    Limited {
        /// At least one.
        units: u64,
        /// At least a millisecond.
        period: Duration,
    },
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is like 600/1m, or off")]
pub struct RateMalformed;

impl FromStr for Rate {
    type Err = RateMalformed;

    fn from_str(text: &str) -> Result<Rate, RateMalformed> {
        if text == "off" {
            return Ok(Rate::Off);
        }
        let (units, period) = text.split_once('/').ok_or(RateMalformed)?;
        let units = units.parse().ok().filter(|units| *units > 0);
        let period = platform::config::duration(period).ok();
        match (units, period.filter(|period| !period.is_zero())) {
            (Some(units), Some(period)) => Ok(Rate::Limited { units, period }),
            _ => Err(RateMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_units_and_a_period() {
        let rate = Rate::Limited {
            units: 600,
            period: Duration::from_secs(60),
        };
        assert_eq!("600/1m".parse(), Ok(rate));
        assert_eq!("off".parse(), Ok(Rate::Off));
        for bad in ["", "600", "0/1m", "600/0s", "-1/1m", "600/m", "/1m", "OFF"] {
            assert_eq!(bad.parse::<Rate>(), Err(RateMalformed), "{bad}");
        }
    }
}
