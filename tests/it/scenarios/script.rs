//! Reads scenario scripts.

use sloburn::testing;
use sloburn::types::{Labels, Span, Timestamp};

/// A whole script.
#[derive(Debug, Default)]
pub struct Script {
    pub spec: String,
    pub series: Vec<Series>,
    pub expectations: Vec<Expectation>,
    /// The lines of the `alerts` block.
    pub alerts: Vec<String>,
}

/// One series and its samples.
#[derive(Debug)]
pub struct Series {
    pub labels: Labels,
    pub samples: Vec<(Timestamp, f64)>,
}

/// What an SLO looks like at one moment.
#[derive(Debug)]
pub struct Expectation {
    pub line: usize,
    pub at: Timestamp,
    pub slo: String,
    pub figures: Vec<(Figure, String)>,
}

/// What can be expected of an SLO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    State,
    Good,
    Bad,
    Total,
    Remaining,
    Inconsistent,
    Burn(Span),
}

/// The block that indented lines belong to.
enum Block {
    None,
    Spec,
    Load(Span),
    Eval(Timestamp),
    Alerts,
}

impl Script {
    /// Errors begin with their line's number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut script, mut block, mut has_alerts) = (Self::default(), Block::None, false);
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let at_line = |error: String| format!("{number}: {error}");
            match line.strip_prefix("  ") {
                None => {
                    block = header(line).map_err(at_line)?;
                    has_alerts |= matches!(block, Block::Alerts);
                }
                Some(content) => script.take(&block, number, content).map_err(at_line)?,
            }
        }
        // Left out by mistake it would say that nothing must alert.
        if has_alerts { Ok(script) } else { Err("1: no `alerts` block; an empty one means that nothing alerts".into()) }
    }

    fn take(&mut self, block: &Block, line: usize, content: &str) -> Result<(), String> {
        match block {
            Block::None => return Err("an indented line outside of any block".to_owned()),
            Block::Spec => {
                self.spec.push_str(content);
                self.spec.push('\n');
            }
            Block::Load(interval) => {
                let end = content.find('}').map_or(0, |end| end + 1);
                let (labels, values) = (testing::series(&content[..end])?, testing::values(&content[end..])?);
                let at = |i: usize| Timestamp(interval.as_millis() * i as i64);
                let samples = values.iter().enumerate().filter_map(|(i, value)| Some((at(i), (*value)?)));
                self.series.push(Series { labels, samples: samples.collect() });
            }
            Block::Eval(at) => {
                let mut words = content.split_whitespace();
                let slo = words.next().unwrap_or_default().to_owned();
                let figures = words.map(figure).collect::<Result<_, _>>()?;
                self.expectations.push(Expectation { line, at: *at, slo, figures });
            }
            Block::Alerts => self.alerts.push(content.split_whitespace().collect::<Vec<_>>().join(" ")),
        }
        Ok(())
    }
}

fn header(line: &str) -> Result<Block, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let span = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
    Ok(match words[..] {
        ["spec"] => Block::Spec,
        ["load", interval] => Block::Load(span(interval)?),
        ["eval", "at", time] => Block::Eval(Timestamp(0) + span(time)?),
        ["alerts"] => Block::Alerts,
        _ => return Err(format!("not a block: {line:?}")),
    })
}

/// `name=value`
fn figure(word: &str) -> Result<(Figure, String), String> {
    let unknown = || format!("no such figure: {word:?}");
    let (name, value) = word.split_once('=').ok_or_else(unknown)?;
    let figure = match (name, name.strip_prefix("burn:")) {
        (_, Some(window)) => Figure::Burn(window.parse().map_err(|_| unknown())?),
        ("state", _) => Figure::State,
        ("good", _) => Figure::Good,
        ("bad", _) => Figure::Bad,
        ("total", _) => Figure::Total,
        ("remaining", _) => Figure::Remaining,
        ("inconsistent", _) => Figure::Inconsistent,
        _ => return Err(unknown()),
    };
    Ok((figure, value.to_owned()))
}
