//! From text to [`Node`]: YAML 1.2 without anchors, aliases, tags, merge keys and second documents.

use granit_parser::{Event, Parser, ScalarStyle};

use super::{Codes, Kind, Node, Span, Spanned};
use crate::diagnostic::Problems;

/// Largest file.
pub(super) const BYTES_MAX: usize = 512 << 10;
/// Most nodes of one file.
pub(super) const NODES_MAX: usize = 20_000;
/// Deepest nesting.
pub(super) const DEPTH_MAX: usize = 40;

/// Reads one YAML document. Mistakes go to `problems`; nothing comes back when the text cannot be
/// read as YAML at all.
pub fn parse(text: &str, codes: &Codes, problems: &mut Problems) -> Option<Node> {
    if text.len() > BYTES_MAX {
        let most = BYTES_MAX >> 10;
        let message =
            format!("a YAML file has at most {most} KiB; this one has {}", text.len().div_ceil(1024));
        problems.error(codes.form, Span::at(1, 1, 1), message).help =
            Some("cut it into several files".into());
        return None;
    }
    let mut reader = Reader { text, codes, problems, nodes: 0 };
    let mut events = Parser::new_from_str(text);
    let mut root = None;
    loop {
        let (event, span) = match events.next()? {
            Ok(found) => found,
            Err(error) => {
                let marker = error.marker();
                let span = Span::at(u32_of(marker.line()), u32_of(marker.col()) + 1, 1);
                reader.problems.error(codes.syntax, span, format!("this is not YAML: {}", error.info()));
                return None;
            }
        };
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentEnd | Event::Comment(..) => {}
            Event::DocumentStart(..) if root.is_some() => {
                let span = reader.span(&span);
                reader.problems.error(codes.syntax, span, "a file holds one document only");
                return root;
            }
            Event::DocumentStart(..) => {}
            event => root = Some(reader.node(&mut events, event, &span, 0)?),
        }
    }
    Some(root.unwrap_or(Node { span: Span::at(1, 1, 1), kind: Kind::Nothing }))
}

struct Reader<'a> {
    text: &'a str,
    codes: &'a Codes,
    problems: &'a mut Problems,
    nodes: usize,
}

type Events<'a> = Parser<'a, granit_parser::StrInput<'a>>;

impl Reader<'_> {
    fn node(
        &mut self,
        events: &mut Events<'_>,
        event: Event<'_>,
        at: &granit_parser::Span,
        depth: usize,
    ) -> Option<Node> {
        let mut span = self.span(at);
        self.nodes += 1;
        let over = if depth > DEPTH_MAX {
            Some(format!("this is nested deeper than {DEPTH_MAX} levels"))
        } else if self.nodes > NODES_MAX {
            Some(format!("a file has at most {NODES_MAX} keys and values; cut it into several files"))
        } else {
            None
        };
        if let Some(message) = over {
            self.problems.error(self.codes.form, span, message);
            return None;
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(anchor != 0, tag.is_some(), span);
                scalar(&text, style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse(anchor != 0, tag.is_some(), span);
                let mut items = Vec::new();
                loop {
                    match self.next(events)? {
                        (Event::SequenceEnd, end) => {
                            span.end = self.span(&end).end;
                            break Kind::List(items);
                        }
                        (event, at) => items.push(self.node(events, event, &at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse(anchor != 0, tag.is_some(), span);
                Kind::Map(self.entries(events, depth, &mut span)?)
            }
            _ => {
                self.problems.error(self.codes.anchor, span, "an alias is not allowed here").help =
                    Some("write the value again".into());
                Kind::Nothing
            }
        };
        Some(Node { span, kind })
    }

    fn entries(
        &mut self,
        events: &mut Events<'_>,
        depth: usize,
        span: &mut Span,
    ) -> Option<Vec<(Spanned<String>, Node)>> {
        let mut entries: Vec<(Spanned<String>, Node)> = Vec::new();
        loop {
            let (event, at) = self.next(events)?;
            if let Event::MappingEnd = event {
                span.end = self.span(&at).end;
                return Some(entries);
            }
            let key = self.node(events, event, &at, depth + 1)?;
            let (event, at) = self.next(events)?;
            let value = self.node(events, event, &at, depth + 1)?;
            let Some(name) = key.as_text() else {
                self.problems.error(self.codes.form, key.span, "a key is a single word");
                continue;
            };
            if name == "<<" {
                self.problems.error(self.codes.anchor, key.span, "a merge key is not allowed");
                continue;
            }
            if let Some((first, _)) = entries.iter().find(|(known, _)| known.value == name) {
                let help = format!("first at line {}", first.span.line);
                self.problems.error(self.codes.twice, key.span, format!("`{name}` is here twice")).help =
                    Some(help);
                continue;
            }
            entries.push((Spanned::new(name.to_owned(), key.span), value));
        }
    }

    fn next<'e>(&mut self, events: &mut Events<'e>) -> Option<(Event<'e>, granit_parser::Span)> {
        loop {
            match events.next()? {
                Ok((Event::Comment(..), _)) => {}
                Ok(found) => return Some(found),
                Err(error) => {
                    let marker = error.marker();
                    let span = Span::at(u32_of(marker.line()), u32_of(marker.col()) + 1, 1);
                    self.problems.error(
                        self.codes.syntax,
                        span,
                        format!("this is not YAML: {}", error.info()),
                    );
                    return None;
                }
            }
        }
    }

    fn refuse(&mut self, anchor: bool, tag: bool, span: Span) {
        if anchor {
            self.problems.error(self.codes.anchor, span, "an anchor is not allowed");
        }
        if tag {
            self.problems.error(self.codes.anchor, span, "a tag is not allowed");
        }
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let start = span.start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        let written = self.text.get(start..end).unwrap_or("");
        let first_line = written.lines().next().unwrap_or("");
        Span {
            line: u32_of(span.start.line()),
            column: u32_of(span.start.col()) + 1,
            length: u32_of(first_line.trim_end().chars().count()).max(1),
            start,
            end,
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Kind {
    match style {
        ScalarStyle::Plain if matches!(text, "" | "~" | "null") => Kind::Nothing,
        ScalarStyle::Plain => Kind::Scalar { text: text.to_owned(), quoted: false },
        _ => Kind::Scalar { text: text.to_owned(), quoted: true },
    }
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
