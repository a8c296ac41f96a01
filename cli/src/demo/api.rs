//! The public GraphQL API, as much of it as a load needs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::http;

/// Longest time to repeat one request for.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(super) struct Api {
    pub(super) port: u16,
}

/// What a request came to, if it is to be repeated.
enum Failure {
    Passing(String),
    Final(anyhow::Error),
}

impl Api {
    /// Sends a mutation with its `input` and answers its payload. What can pass is repeated: the
    /// request id makes that safe.
    pub(super) fn mutate(
        &self,
        token: Option<&str>,
        field: &str,
        fields: &str,
        input: Value,
    ) -> anyhow::Result<Value> {
        let mut letters = field.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        let input_type: String = first.into_iter().chain(letters).collect();
        let query = format!(
            "mutation Demo($input: {input_type}Input!) {{ {field}(input: $input) {{ {fields} userErrors {{ code message field }} }} }}"
        );
        let data = self.send(token, &query, json!({ "input": input }))?;
        Ok(data[field].clone())
    }

    /// Sends a request and answers its `data`.
    pub(super) fn send(
        &self,
        token: Option<&str>,
        query: &str,
        variables: Value,
    ) -> anyhow::Result<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.once(token, &body) {
                Ok(data) => return Ok(data),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) if began.elapsed() > PATIENCE => bail!("{why}"),
                Err(Failure::Passing(_)) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    fn once(&self, token: Option<&str>, body: &str) -> Result<Value, Failure> {
        let answer = http::post(self.port, "/graphql", token, body, TIMEOUT)
            .map_err(|error| Failure::Passing(format!("{error:#}")))?;
        let json: Value = match serde_json::from_str(&answer.body) {
            Ok(json) => json,
            Err(_) if answer.status >= 500 => {
                return Err(Failure::Passing(format!("HTTP {}", answer.status)));
            }
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("HTTP {}", answer.status));
                return Err(Failure::Final(error));
            }
        };
        let errors = json["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        match errors.first() {
            None => Ok(json["data"].clone()),
            Some(error) if error["extensions"]["retryable"] == true => {
                Err(Failure::Passing(error.to_string()))
            }
            Some(error) => Err(Failure::Final(anyhow::anyhow!("{error}"))),
        }
    }
}

/// The first user error of a payload, as its code and as text.
pub(super) fn user_error(payload: &Value) -> Option<(&str, String)> {
    let error = payload["userErrors"].get(0)?;
    Some((
        error["code"].as_str().unwrap_or_default(),
        error.to_string(),
    ))
}

/// Refuses a payload with a user error.
pub(super) fn accepted(payload: Value) -> anyhow::Result<Value> {
    match user_error(&payload) {
        Some((_, text)) => bail!("{text}"),
        None => Ok(payload),
    }
}

/// A text within an answer.
pub(super) fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned)
        .with_context(|| format!("no {pointer} in {value}"))
}
