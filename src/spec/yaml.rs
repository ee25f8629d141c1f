//! YAML as a small tree that remembers where everything stood.
//!
//! Scalars keep their text, so that `99.9` is read as the decimal it is. Aliases are followed, merge keys and
//! tags are not; depth and total size are bounded, aliases included. Each document of a file stands alone: a
//! syntax error loses its document only.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::spec::diagnostic::Reporter;
use crate::spec::source::{Place, SOURCE_LIMIT_BYTES};
use crate::spec::syntax;

/// Deeper collections are refused, aliases followed.
const DEPTH_LIMIT_LEVELS: usize = 64;
/// Documents that take more memory than this as trees are refused, aliases followed.
const TREE_LIMIT_BYTES: usize = 64 << 20;
/// What a node and its share of its parent take beside the text.
const NODE_SIZE_BYTES: usize = 160;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order written; each key once.
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub text: String,
    pub quoted: bool,
    /// The column of the text's first character where the source line holds the text as it is.
    pub column: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    pub fn as_mapping(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// What a message calls the value.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar(scalar) => shown(&scalar.text),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// A text of the user's in backticks, on one line and short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_LIMIT_CHARS: usize = 60;
    let line = text.trim_end().replace(['\n', '\r'], " ");
    let cut = if line.chars().nth(SHOWN_LIMIT_CHARS).is_some() { "..." } else { "" };
    format!("`{}{cut}`", line.chars().take(SHOWN_LIMIT_CHARS).collect::<String>())
}

/// The documents of a source that are well-formed, in order; empty ones are left out.
pub(crate) fn documents(reporter: &mut Reporter<'_>) -> Vec<Node> {
    let text = &reporter.source.text;
    if text.len() > SOURCE_LIMIT_BYTES {
        let message = format!("the file is larger than {} MiB", SOURCE_LIMIT_BYTES >> 20);
        reporter.error(Place::START, message).hint("split it into several files");
        return Vec::new();
    }
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH_LIMIT_LEVELS,
        block_nesting_limit: DEPTH_LIMIT_LEVELS,
        disallow_directives: true,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    let mut last = Place::START;
    while let Some(event) = parser.next_event() {
        let built = event.map_err(|error| syntax::report(&error, last, reporter)).and_then(|(event, span)| {
            last = place(&span, reporter);
            if matches!(event, Event::DocumentEnd) {
                documents.extend(std::mem::take(&mut builder).root.filter(|root| !matches!(root.value, Value::Null)));
            }
            builder.take(event, span, last, reporter)
        });
        if built.is_err() {
            builder = Builder::default();
            if !proceed(&mut parser, last, reporter) {
                break;
            }
        }
    }
    documents
}

/// Skips the rest of a broken document; whether another one follows.
fn proceed<'i>(parser: &mut Parser<'i, granit_parser::StrInput<'i>>, last: Place, reporter: &mut Reporter<'_>) -> bool {
    let proceeded: Result<bool, ScanError> = parser.proceed_next_document();
    proceeded.unwrap_or_else(|error| {
        syntax::report(&error, last, reporter);
        false
    })
}

/// The document is beyond repair, and the reason is reported.
pub(super) struct Abandoned;

/// Grows one document's tree from events.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Finished nodes that have an anchor, by its id.
    anchors: BTreeMap<usize, Node>,
    bytes: usize,
    root: Option<Node>,
}

/// A collection whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<Key>, first: BTreeMap<String, Place> },
}

/// A mapping's key while its value is awaited.
enum Key {
    Fresh(String, Place),
    /// Reported already; its value is dropped.
    Refused,
}

impl Builder {
    fn take(
        &mut self,
        event: Event<'_>,
        span: Span,
        place: Place,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Abandoned> {
        if let Some(tag) = span.tag_start() {
            let at = Place { line: tag.line() as u32, column: tag.col() as u32 + 1, width: 1 };
            reporter.error(at, "tags are not supported").hint("leave the tag out; quote a value to make it text");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = scalar(&text, style, &span, reporter);
                self.finish(Node { place, value }, anchor, reporter)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(Open { place, anchor, kind: OpenKind::Sequence(Vec::new()) }, reporter)
            }
            Event::MappingStart(_, anchor, _) => {
                let kind = OpenKind::Mapping { entries: Vec::new(), key: None, first: BTreeMap::new() };
                self.start(Open { place, anchor, kind }, reporter)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(reporter),
            Event::Alias(anchor) => self.alias(anchor, place, reporter),
            _ => Ok(()),
        }
    }

    fn start(&mut self, open: Open, reporter: &mut Reporter<'_>) -> Result<(), Abandoned> {
        if self.open.len() >= DEPTH_LIMIT_LEVELS {
            return Err(too_deep(open.place, reporter));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, reporter: &mut Reporter<'_>) -> Result<(), Abandoned> {
        let Some(Open { mut place, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            OpenKind::Sequence(items) => Value::Sequence(items),
            OpenKind::Mapping { entries, .. } => {
                // A block mapping has no bracket to point at: point at its first key.
                let at = |p: Place| (p.line, p.column);
                place = entries.first().map(|e| e.place).filter(|key| at(*key) == at(place)).unwrap_or(place);
                Value::Mapping(entries)
            }
        };
        self.finish(Node { place, value }, anchor, reporter)
    }

    fn alias(&mut self, anchor: usize, place: Place, reporter: &mut Reporter<'_>) -> Result<(), Abandoned> {
        let Some(node) = self.anchors.get(&anchor) else {
            reporter.error(place, "an alias cannot stand inside the value it names");
            return Err(Abandoned);
        };
        let (bytes, depth) = measure(node);
        if self.open.len() + depth > DEPTH_LIMIT_LEVELS {
            return Err(too_deep(place, reporter));
        }
        self.charge(bytes, place, reporter)?;
        let node = self.anchors[&anchor].clone();
        self.place(node, reporter);
        Ok(())
    }

    /// Puts a finished node where it belongs and keeps a copy for its aliases.
    fn finish(&mut self, node: Node, anchor: usize, reporter: &mut Reporter<'_>) -> Result<(), Abandoned> {
        let own = match &node.value {
            Value::Scalar(scalar) => scalar.text.len(),
            _ => 0,
        };
        self.charge(NODE_SIZE_BYTES + own, node.place, reporter)?;
        if anchor > 0 {
            self.charge(measure(&node).0, node.place, reporter)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node, reporter);
        Ok(())
    }

    fn place(&mut self, node: Node, reporter: &mut Reporter<'_>) {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, key, first }) => match key.take() {
                None => *key = Some(fresh_key(node, first, reporter)),
                Some(Key::Fresh(key, place)) => entries.push(Entry { key, place, value: node }),
                Some(Key::Refused) => {}
            },
        }
    }

    fn charge(&mut self, bytes: usize, place: Place, reporter: &mut Reporter<'_>) -> Result<(), Abandoned> {
        self.bytes += bytes;
        if self.bytes <= TREE_LIMIT_BYTES {
            return Ok(());
        }
        let message = format!("the document takes more than {} MiB with its aliases followed", TREE_LIMIT_BYTES >> 20);
        reporter.error(place, message).hint("write one service a document, and fewer aliases of aliases");
        Err(Abandoned)
    }
}

fn fresh_key(node: Node, first: &mut BTreeMap<String, Place>, reporter: &mut Reporter<'_>) -> Key {
    let Value::Scalar(scalar) = node.value else {
        let message = format!("a field's name must be text, not {}", node.describe());
        reporter.error(node.place, message);
        return Key::Refused;
    };
    if scalar.text == "<<" && !scalar.quoted {
        let hint = "write the fields out, or alias the whole mapping, as in `labels: *common`";
        reporter.error(node.place, "merge keys (`<<`) are not supported").hint(hint);
        return Key::Refused;
    }
    if let Some(before) = first.get(&scalar.text) {
        let related = reporter.related(*before, "first given here");
        reporter.error(node.place, format!("{} is given twice", shown(&scalar.text))).related(related);
        return Key::Refused;
    }
    first.insert(scalar.text.clone(), node.place);
    Key::Fresh(scalar.text, node.place)
}

fn scalar(text: &str, style: ScalarStyle, span: &Span, reporter: &Reporter<'_>) -> Value {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    let inset = usize::from(quoted);
    let verbatim = || {
        let written = reporter.source.text.get(span.start.byte_offset()? + inset..)?;
        (written.starts_with(text) && !text.contains(['\n', '\r'])).then_some((span.start.col() + inset + 1) as u32)
    };
    Value::Scalar(Scalar { text: text.to_owned(), quoted, column: verbatim() })
}

fn too_deep(place: Place, reporter: &mut Reporter<'_>) -> Abandoned {
    reporter.error(place, format!("nested deeper than {DEPTH_LIMIT_LEVELS} levels"));
    Abandoned
}

/// Memory in bytes, and levels of collections.
fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<(usize, usize)> = match &node.value {
        Value::Null => Vec::new(),
        Value::Scalar(scalar) => return (NODE_SIZE_BYTES + scalar.text.len(), 0),
        Value::Sequence(items) => items.iter().map(measure).collect(),
        Value::Mapping(entries) => {
            let of = |entry: &Entry| {
                let (bytes, depth) = measure(&entry.value);
                (bytes + NODE_SIZE_BYTES + entry.key.len(), depth)
            };
            entries.iter().map(of).collect()
        }
    };
    let bytes = children.iter().map(|(bytes, _)| bytes).sum::<usize>() + NODE_SIZE_BYTES;
    let depth = children.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    (bytes, depth + 1)
}

/// The part of the span on its first line.
fn place(span: &Span, reporter: &Reporter<'_>) -> Place {
    let (line, column) = (span.start.line() as u32, span.start.col() as u32 + 1);
    let end = if span.end.line() == span.start.line() {
        span.end.col()
    } else {
        reporter.line(line).trim_end().chars().count()
    };
    Place { line, column, width: (end as u32 + 1).saturating_sub(column).max(1) }
}
