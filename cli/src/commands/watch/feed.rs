//! One subscription, which goes on wherever its connection was cut.

use std::{
    io::{self, BufRead, BufReader},
    sync::mpsc::Sender,
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use super::Endpoint;
use crate::http;

/// Longer than the pause between two signs of life of a BFF with nothing to say.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is followed.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) query: &'static str,
    /// The field of the query.
    pub(super) field: &'static str,
    /// Without `after`.
    pub(super) variables: Value,
    /// What the caller wants to know of it.
    pub(super) about: Value,
}

/// What a feed has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// The value of the field.
    Message { feed: usize, message: Value },
    /// The connection is gone; another follows.
    Cut(String),
    /// No other connection would help.
    Refused(String),
}

/// Why a connection has come to its end.
enum End {
    /// There is nothing more to be said.
    Complete,
    /// Nobody listens any more.
    Unheard,
    Refused(String),
}

impl Feed {
    /// Follows the feed with the number at one endpoint after the other, until it is complete.
    pub(super) fn follow(&self, number: usize, endpoints: &[Endpoint], said: &Sender<Said>) {
        let mut after = Value::Null;
        let mut pause = PAUSE_MIN;
        for endpoint in endpoints.iter().cycle() {
            let mut heard = false;
            let end = self.listen(endpoint, &mut after, |message| {
                heard = true;
                let feed = number;
                said.send(Said::Message { feed, message }).is_ok()
            });
            let why = match end {
                Ok(End::Complete | End::Unheard) => return,
                // Whoever does not hear this has no use for it.
                Ok(End::Refused(why)) => return drop(said.send(Said::Refused(why))),
                Err(why) => format!("{why:#}"),
            };
            if said.send(Said::Cut(why)).is_err() {
                return;
            }
            pause = if heard {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            thread::sleep(pause);
        }
    }

    /// Listens until the connection ends; an error is one that another connection may not have.
    fn listen(
        &self,
        endpoint: &Endpoint,
        after: &mut Value,
        mut hear: impl FnMut(Value) -> bool,
    ) -> anyhow::Result<End> {
        let mut variables = self.variables.clone();
        variables["after"] = after.clone();
        let body = json!({ "query": self.query, "variables": variables }).to_string();
        let response = http::events(endpoint.port, &endpoint.path, &body, PATIENCE)?;
        if !response.is_events() {
            let answer = response.whole()?;
            let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
            return match refusal(&json) {
                Some((why, false)) => Ok(End::Refused(why)),
                Some((why, true)) => Err(anyhow!(why)),
                None => Err(anyhow!("HTTP {} without events", answer.status)),
            };
        }
        let mut events = Events(BufReader::new(response));
        while let Some(event) = events.next()? {
            match event.name.as_str() {
                "complete" => return Ok(End::Complete),
                "next" => {}
                _ => continue,
            }
            let mut data: Value =
                serde_json::from_str(&event.data).context("an event without JSON")?;
            match refusal(&data) {
                Some((why, false)) => return Ok(End::Refused(why)),
                Some((why, true)) => return Err(anyhow!(why)),
                None => {}
            }
            let message = data["data"][self.field].take();
            if let Some(cursor) = message["cursor"].as_str() {
                *after = json!(cursor);
            }
            if !hear(message) {
                return Ok(End::Unheard);
            }
        }
        Err(anyhow!("the connection has ended"))
    }
}

/// The first error of an answer, and whether it can pass.
pub(super) fn refusal(answer: &Value) -> Option<(String, bool)> {
    let error = answer["errors"].get(0)?;
    let message = error["message"].as_str().unwrap_or("refused");
    Some((message.to_owned(), error["extensions"]["retryable"] == true))
}

/// The events in a stream of text.
struct Events<R>(R);

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

impl<R: BufRead> Events<R> {
    /// Waits for the next event; `None` if the stream has ended.
    fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                // What has no end is no event.
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if !event.name.is_empty() {
                    return Ok(Some(event));
                }
                continue;
            }
            // A line that begins with a colon is a sign of life.
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "data" => event.data += value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    fn feed() -> Feed {
        Feed {
            query: "subscription",
            field: "votes",
            variables: json!({ "id": "x" }),
            about: Value::Null,
        }
    }

    fn listener() -> (TcpListener, Endpoint) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = Endpoint {
            port: listener.local_addr().unwrap().port(),
            path: "/graphql".to_owned(),
        };
        (listener, endpoint)
    }

    /// Answers the next request with this, and the variables that it had.
    fn serve(listener: &TcpListener, answer: &str) -> Value {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut request = String::new();
        while !request.ends_with("}}") {
            let mut bytes = [0; 512];
            let read = stream.read(&mut bytes).unwrap();
            request += std::str::from_utf8(&bytes[..read]).unwrap();
        }
        stream.write_all(answer.as_bytes()).unwrap();
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["variables"].take()
    }

    fn next(version: i32) -> String {
        format!(
            "event: next\ndata: {{\"data\": {{\"votes\": {{\"version\": {version}, \"cursor\": \"c{version}\"}}}}}}\n\n"
        )
    }

    fn versions(said: &mpsc::Receiver<Said>) -> Vec<String> {
        said.iter()
            .map(|said| match said {
                Said::Message { message, .. } => message["version"].to_string(),
                Said::Cut(_) => "cut".to_owned(),
                Said::Refused(why) => why,
            })
            .collect()
    }

    #[test]
    fn a_feed_that_is_cut_goes_on_at_the_next_replica_from_its_last_cursor() {
        let ((one, first), (two, second)) = (listener(), listener());
        let (sender, said) = mpsc::channel();
        let following = thread::spawn(move || feed().follow(0, &[first, second], &sender));

        let half = next(3);
        let begun = format!("{HEAD}:\n\n{}{}{}", next(1), next(2), &half[..20]);
        assert_eq!(serve(&one, &begun), json!({ "id": "x", "after": null }));
        let overloaded = r#"{"errors": [{"message": "later", "extensions": {"retryable": true}}]}"#;
        let overloaded =
            format!("HTTP/1.1 503 X\r\ncontent-type: application/json\r\n\r\n{overloaded}");
        assert_eq!(serve(&two, &overloaded)["after"], "c2");
        let rest = format!("{HEAD}{}event: complete\ndata:\n\n", next(3));
        assert_eq!(serve(&one, &rest)["after"], "c2");

        following.join().unwrap();
        assert_eq!(versions(&said), ["1", "2", "cut", "cut", "3"]);
    }

    #[test]
    fn an_error_that_does_not_pass_is_told_and_not_tried_again() {
        let (one, first) = listener();
        let (sender, said) = mpsc::channel();
        let following = thread::spawn(move || feed().follow(0, &[first], &sender));
        let error = r#"{"data": null, "errors": [{"message": "no such offer"}]}"#;
        serve(&one, &format!("{HEAD}event: next\ndata: {error}\n\n"));
        following.join().unwrap();
        assert_eq!(versions(&said), ["no such offer"]);
    }

    #[test]
    fn events_are_read_from_lines_and_half_of_one_is_none() {
        let text = ":\n\nevent: next\r\ndata:{\"a\":\r\ndata: 1}\r\n\r\nid: 7\nevent: complete\ndata:\n\nevent: next\ndata: {}\n";
        let mut events = Events(text.as_bytes());
        let event = |name: &str, data: &str| Event {
            name: name.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(events.next().unwrap(), Some(event("next", r#"{"a":1}"#)));
        assert_eq!(events.next().unwrap(), Some(event("complete", "")));
        assert_eq!(events.next().unwrap(), None);
    }
}
