//! As much YAML as a catalogue needs.

/// A document or a part of it; entries stay in their order.
#[derive(Clone)]
pub(super) enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
}

impl Node {
    /// Appends the document.
    pub(super) fn write(&self, yaml: &mut String) {
        self.block(0, yaml);
    }

    /// Writes the node on lines of its own, or where the first line has begun.
    fn block(&self, depth: usize, yaml: &mut String) {
        let indent = |yaml: &mut String| {
            if yaml.ends_with('\n') {
                yaml.push_str(&"  ".repeat(depth));
            }
        };
        match self {
            Node::Map(entries) => {
                for (key, node) in entries {
                    indent(yaml);
                    yaml.push_str(&scalar(key));
                    yaml.push(':');
                    node.value(depth + 1, yaml);
                }
            }
            Node::List(items) => {
                for item in items {
                    indent(yaml);
                    yaml.push_str("- ");
                    item.block(depth + 1, yaml);
                }
            }
            Node::Text(text) => {
                yaml.push_str(&scalar(text));
                yaml.push('\n');
            }
        }
    }

    /// Writes what stands behind a key.
    fn value(&self, depth: usize, yaml: &mut String) {
        match self {
            Node::Map(entries) if entries.is_empty() => yaml.push_str(" {}\n"),
            Node::List(items) if items.is_empty() => yaml.push_str(" []\n"),
            Node::Text(_) => {
                yaml.push(' ');
                self.block(depth, yaml);
            }
            _ => {
                yaml.push('\n');
                self.block(depth, yaml);
            }
        }
    }
}

/// Text that cannot be taken for anything else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''").replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_stays_what_it_is() {
        let text = |text: &str| Node::Text(text.to_owned());
        let document = Node::Map(vec![
            ("plain".to_owned(), text("offer.published")),
            ("number".to_owned(), text("3.0.0")),
            ("yes".to_owned(), text("No")),
            ("sentence".to_owned(), text("It's: a #1")),
            ("none".to_owned(), Node::Map(Vec::new())),
            (
                "list".to_owned(),
                Node::List(vec![
                    text("a"),
                    Node::Map(vec![
                        ("b".to_owned(), text("c")),
                        ("d".to_owned(), Node::List(vec![text("e")])),
                    ]),
                ]),
            ),
        ]);
        let mut yaml = String::new();
        document.write(&mut yaml);
        let expected = "\
plain: offer.published
number: '3.0.0'
'yes': 'No'
sentence: 'It''s: a #1'
none: {}
list:
  - a
  - b: c
    d:
      - e
";
        assert_eq!(yaml, expected);
    }
}
