//! Log lines on stdout, or on stderr beside a command's answers: JSON for machines, or one
//! readable line each.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    config::{CommonArgs, LogFormat},
    telemetry, trace,
};

/// Starts logging for the process; a later call changes nothing. Panics are logged as well.
pub fn init(service: &'static str, format: LogFormat, filter: &str) {
    start(service, format, filter, false, io::stdout);
}

/// As [`init`], as the service is configured, with the spans that come of log events.
pub(crate) fn init_of_service(service: &'static str, args: &CommonArgs) {
    let spans = args.telemetry.otel_exporter_otlp_endpoint.is_some();
    start(service, args.log_format, &args.log_level, spans, io::stdout);
}

/// On stderr: what a command answers stands on stdout.
pub(crate) fn init_of_command(service: &'static str, args: &CommonArgs) {
    start(service, args.log_format, &args.log_level, false, io::stderr);
}

fn start<W: Write + IsTerminal>(
    service: &'static str,
    format: LogFormat,
    filter: &str,
    spans: bool,
    stream: fn() -> W,
) where
    fn() -> W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(format == LogFormat::Human && stream().is_terminal())
        .with_writer(stream)
        .event_format(Lines { service, format })
        .with_filter(filter);
    let started = tracing_subscriber::registry()
        .with(lines)
        .with(spans.then(telemetry::statements))
        .try_init()
        .is_ok();
    if started {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(panic.at = at, "panic: {message}");
        }));
    }
}

struct Lines {
    service: &'static str,
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match self.format {
            LogFormat::Json => self.json(writer, event, fields),
            LogFormat::Human => human(writer, event, fields),
        }
    }
}

impl Lines {
    fn json(&self, mut writer: Writer<'_>, event: &Event<'_>, fields: Fields) -> fmt::Result {
        let context = trace::try_current();
        let line = Line {
            timestamp: timestamp(),
            level: event.metadata().level().as_str().to_ascii_lowercase(),
            service: self.service,
            target: event.metadata().target(),
            message: fields.message,
            trace_id: context.map(|context| context.trace_id()),
            span_id: context.map(|context| context.span_id()),
            request_id: trace::request_id().map(|id| id.to_string()),
            fields: fields.others,
        };
        writeln!(
            writer,
            "{}",
            serde_json::to_string(&line).map_err(|_| fmt::Error)?
        )
    }
}

/// In the order in which a person looks for it.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: String,
    service: &'a str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

fn human(mut writer: Writer<'_>, event: &Event<'_>, fields: Fields) -> fmt::Result {
    let level = event.metadata().level();
    let colour = match *level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "2",
    };
    let (on, off) = match writer.has_ansi_escapes() {
        true => (format!("\x1b[{colour}m"), "\x1b[0m"),
        false => (String::new(), ""),
    };
    // A value cannot begin a line of its own, or turn the terminal's colours.
    let plain = Plain(&fields.message);
    write!(
        writer,
        "{} {on}{level:5}{off} {}: {plain}",
        timestamp(),
        event.metadata().target()
    )?;
    for (name, value) in &fields.others {
        write!(writer, " {name}={value}")?;
    }
    if let Some(context) = trace::try_current() {
        write!(writer, " trace={}", context.trace_id())?;
    }
    writeln!(writer)
}

struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

fn timestamp() -> String {
    crate::time::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::trace::TraceContext;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("debug")
            .with_ansi(false)
            .event_format(Lines {
                service: "catalog",
                format,
            })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_its_fields_and_the_trace_of_its_scope() {
        let context = TraceContext::new();
        let line = logged(LogFormat::Json, || {
            trace::sync_scope(context, || {
                tracing::info!(offer.id = 7, kind = "x\ny", "published\noffer {}", 7);
            });
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["service"], "catalog");
        assert_eq!(line["message"], "published\noffer 7");
        assert_eq!(line["fields"]["offer.id"], 7);
        assert_eq!(line["fields"]["kind"], "x\ny");
        assert_eq!(line["trace_id"], context.trace_id());
        assert_eq!(line["span_id"], context.span_id());
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_human_line_stays_one_line() {
        let line = logged(LogFormat::Human, || {
            tracing::warn!(kind = "a\nb", "one\n\x1b[31mtwo");
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("WARN"), "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }
}
