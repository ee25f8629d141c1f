//! What series are bound to, by number, and the numbers to use again.
//!
//! Each new version of a service, each new group of an SLO is one binding more. So that those of versions that are long
//! gone do not pile up, the ones that nothing refers to any more are looked for every hour, and sooner when there are
//! twice as many as were left the last time. That takes a walk over all series.

use std::sync::Arc;

use crate::engine::{Binding, Engine, RestoreError};
use crate::series::Tag;
use crate::types::{Span, Timestamp};

/// With no more bindings than this none is looked for before its time.
pub(super) const TAGS_LEAST_COUNT: u32 = 16;
/// How often they are looked for, however few there are.
const FREE_EVERY: Span = Span::hours(1);

impl Binding {
    /// Of a series that counts for nothing, and in the place of a tag that is free.
    pub(super) const fn nothing() -> Self {
        Self { matches: Vec::new(), versions: Vec::new(), judges: Vec::new() }
    }

    const fn is_nothing(&self) -> bool {
        self.matches.is_empty()
    }
}

impl Engine {
    /// Gives a binding that is new a tag: the first that is free.
    pub(super) fn new_tag(&mut self, binding: Arc<Binding>) -> Tag {
        let (is_judged, own) = (binding.is_judged(), Arc::clone(&binding));
        let tag = if let Some(tag) = self.free_tags.pop() {
            let place = tag.0 as usize;
            (self.bindings[place], self.judged[place]) = (binding, is_judged);
            tag
        } else {
            self.bindings.push(binding);
            self.judged.push(is_judged);
            self.tallies.push(None);
            Tag(self.bindings.len() as u32 - 1)
        };
        self.tags.insert(own, tag);
        tag
    }

    /// Frees the tags that nothing refers to, if it is time. Between two steps, when no change is on its way.
    pub(super) fn free_unused_tags(&mut self, now: Timestamp) {
        if self.tags.len() <= self.tags_limit as usize && now.since(self.time.freed_at) < FREE_EVERY {
            return;
        }
        self.time.freed_at = now;
        let mut is_used = vec![false; self.bindings.len()];
        is_used[Tag::NOTHING.0 as usize] = true;
        self.table.each_tag(|tag| is_used[tag.0 as usize] = true);
        self.tags.retain(|_, tag| is_used[tag.0 as usize]);
        // Those at the end are given back.
        let end = is_used.iter().rposition(|is_used| *is_used).map_or(0, |last| last + 1);
        self.bindings.truncate(end);
        self.judged.truncate(end);
        self.tallies.truncate(end);
        for (place, _) in is_used[..end].iter().enumerate().filter(|(_, is_used)| !**is_used) {
            self.bindings[place] = Arc::clone(&self.bindings[Tag::NOTHING.0 as usize]);
            self.judged[place] = false;
        }
        self.free_tags = free(&self.bindings);
        self.alike.clear();
        self.tags_limit = (2 * self.tags.len() as u32).max(TAGS_LEAST_COUNT);
    }

    /// Goes on with these bindings.
    pub(super) fn adopt_bindings(&mut self, bindings: Vec<Arc<Binding>>) -> Result<(), RestoreError> {
        if bindings.first().is_none_or(|first| !first.is_nothing()) {
            return Err(RestoreError::Damaged);
        }
        self.judged = bindings.iter().map(|binding| binding.is_judged()).collect();
        self.tallies = vec![None; bindings.len()];
        self.free_tags = free(&bindings);
        self.tags = (0..).zip(&bindings).map(|(tag, binding)| (Arc::clone(binding), Tag(tag))).collect();
        // The free ones are called the same.
        self.tags.insert(Arc::clone(&bindings[0]), Tag::NOTHING);
        self.bindings = bindings;
        Ok(())
    }
}

/// The free ones among the tags of these bindings, the lowest last: it is taken first.
fn free(bindings: &[Arc<Binding>]) -> Vec<Tag> {
    let tags = (1..bindings.len()).rev().filter(|tag| bindings[*tag].is_nothing());
    tags.map(|tag| Tag(tag as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Event, Settings};
    use crate::spec::{Service, Source, parse};
    use crate::types::Labels;
    use crate::wire::{Batch, Limits, Sample, WIRE_KEY_SIZE_BYTES, WireKey};

    const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  versionLabel: version
  slis: [{name: errors, events: {bad: 'requests_total{code="500"}', total: requests_total}}]
  slos: [{name: availability, sli: errors, objective: 99}]
"#;
    const START: Timestamp = Timestamp(1_790_000_000_000);

    fn services() -> Vec<Service> {
        parse(&[Source::new("spec.yaml", SPEC)]).0
    }

    fn settings() -> Settings {
        let key = WireKey::new([3; WIRE_KEY_SIZE_BYTES]);
        Settings { key, limits: Limits::default(), series_limit: 1_000, ha: None }
    }

    fn scrape(engine: &mut Engine, minute: i64, versions: &[String]) {
        let (key, mut batch) = (settings().key, Batch::new());
        let timestamp = START + Span::minutes(minute);
        for version in versions {
            for code in ["200", "500"] {
                let labels = [("__name__", "requests_total"), ("code", code), ("version", version.as_str())];
                batch.push(&key, labels, &[Sample { timestamp, value: minute as f64 }]);
            }
        }
        engine.step(Event::Write(&batch), timestamp);
    }

    #[test]
    fn bindings_of_versions_that_are_gone_are_used_again() {
        let mut engine = Engine::new(&services(), settings(), START);
        let in_use = |engine: &Engine| engine.bindings.len() - engine.free_tags.len();
        for minute in 0..600 {
            scrape(&mut engine, minute, &["stable".to_owned(), format!("v{}", minute / 5)]);
            // Two of each version: of the stable one, and of the thirteen that were there in the last hour.
            assert!(in_use(&engine) <= 2 * (1 + 2 * 14) + 4, "minute {minute}: {}", in_use(&engine));
            assert_eq!(engine.tags.len(), in_use(&engine));
        }
        assert!(engine.bindings.len() <= 64, "{}", engine.bindings.len());
        let snapshot = engine.snapshot(START + Span::minutes(600));
        let stable = snapshot.slos[0].versions.iter().find(|version| version.name == "stable").unwrap();
        assert_eq!(stable.events.total, 2.0 * 599.0);
        // What went in a burst gives its room back.
        let burst: Vec<String> = (0..400).map(|version| format!("w{version}")).collect();
        scrape(&mut engine, 600, &burst);
        assert!(in_use(&engine) > 800);
        for minute in 601..725 {
            scrape(&mut engine, minute, &["stable".to_owned()]);
        }
        assert_eq!((in_use(&engine), engine.bindings.len()), (3, 3));
    }

    #[test]
    fn a_restored_engine_takes_the_same_tags() {
        let mut engine = Engine::new(&services(), settings(), START);
        for minute in 0..200 {
            scrape(&mut engine, minute, &["stable".to_owned(), format!("v{}", minute / 5)]);
        }
        assert!(engine.free_tags.len() > 4, "{:?}", engine.free_tags);
        let mut again = Engine::restore(&services(), &settings(), &engine.save()).unwrap();
        for engine in [&mut engine, &mut again] {
            let unknown = [("__name__", "requests_total"), ("code", "404"), ("version", "v40")];
            assert_eq!(engine.tag(Vec::new(), &Labels::from_pairs(unknown).unwrap(), START), Tag::NOTHING);
            scrape(engine, 201, &["v40".to_owned()]);
        }
        assert!(engine.save() == again.save());
    }
}
