//! From what a Rollout says to the next request, without IO.
//!
//! The patches are those of the controller's own command line (argo-rollouts, `kubectl argo rollouts promote`), with one
//! step more: a promotion ends whatever is at hand, so carried out twice it would skip a step. So before it is carried
//! out it is noted on the Rollout, with the step it is about, in the annotation `sloburn.io/promoting`; an order that
//! comes again finds its note, and is done once the Rollout is past that step. In the same way `sloburn.io/paused` tells
//! a pause of ours from somebody else's, which is never lifted.

use serde_json::{Value, json};

use super::{Action, Order};

const PROMOTING: &str = "sloburn.io/promoting";
const PAUSED: &str = "sloburn.io/paused";

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Nothing: it is as it should be.
    Done,
    /// Patch it, then look at what comes back.
    Patch(Patch),
    /// Nothing now.
    Later(String),
    /// It cannot be done.
    Refused(String),
}

/// A merge patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// Of the subresource `status`, else of the Rollout itself.
    pub(super) is_status: bool,
    /// JSON.
    pub(super) body: String,
    /// Once it is taken, the order is carried out.
    pub(super) is_last: bool,
}

/// A Rollout, as far as it matters.
struct View<'a>(&'a Value);

impl View<'_> {
    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.0.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    fn is_aborted(&self) -> bool {
        self.is("/status/abort")
    }

    /// The newest version is the stable one.
    fn is_complete(&self) -> bool {
        let current = self.text("/status/currentPodHash");
        !current.is_empty() && current == self.text("/status/stableRS")
    }

    /// By us.
    fn is_paused_here(&self) -> bool {
        self.annotation(PAUSED).is_some() && self.is("/spec/paused")
    }

    /// The index of the step at hand, of a canary with steps.
    fn step(&self) -> Option<usize> {
        self.steps()?;
        Some(self.0.pointer("/status/currentStepIndex").and_then(Value::as_u64).unwrap_or(0) as usize)
    }

    fn steps(&self) -> Option<&Vec<Value>> {
        self.0.pointer("/spec/strategy/canary/steps")?.as_array().filter(|steps| !steps.is_empty())
    }

    /// The controller waits: in a step that pauses, or after an inconclusive analysis.
    fn waits(&self) -> bool {
        self.0.pointer("/status/pauseConditions").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    }

    fn is_inconclusive(&self) -> bool {
        self.text("/status/canary/currentStepAnalysisRunStatus/status") == "Inconclusive"
    }

    /// The step at hand is an analysis or an experiment.
    fn is_in_analysis(&self) -> bool {
        let step = self.step().and_then(|at| self.steps()?.get(at));
        step.is_some_and(|step| step.get("analysis").is_some() || step.get("experiment").is_some())
    }

    fn patch(&self, annotation: Option<(&str, Value)>, part: Option<(&str, Value)>, is_last: bool) -> Move {
        let mut metadata = json!({"resourceVersion": self.text("/metadata/resourceVersion")});
        if let Some((name, value)) = annotation {
            metadata["annotations"] = json!({name: value});
        }
        let mut body = json!({"metadata": metadata});
        let is_status = part.as_ref().is_some_and(|(name, _)| *name == "status");
        if let Some((name, value)) = part {
            body[name] = value;
        }
        Move::Patch(Patch { is_status, body: body.to_string(), is_last })
    }

    fn unpause(&self, is_last: bool) -> Move {
        self.patch(Some((PAUSED, Value::Null)), Some(("spec", json!({"paused": false}))), is_last)
    }
}

/// The next request to carry out the order.
pub(super) fn next(rollout: &Value, order: &Order) -> Move {
    let view = View(rollout);
    match order.action {
        Action::Abort => abort(&view),
        Action::Promote => promote(&view, &order.id),
        Action::Finish => finish(&view, &order.id),
        Action::Pause if view.is_aborted() || view.is_complete() || view.is("/spec/paused") => Move::Done,
        Action::Pause => view.patch(Some((PAUSED, json!(order.id))), Some(("spec", json!({"paused": true}))), true),
        Action::Resume if view.is_paused_here() => view.unpause(true),
        Action::Resume => Move::Done,
    }
}

fn abort(view: &View<'_>) -> Move {
    if view.is_aborted() {
        // A Rollout that is paused stays where it is.
        return if view.is_paused_here() { view.unpause(true) } else { Move::Done };
    }
    if view.is_complete() {
        let reason = "no release is in progress: its newest version is the stable one already, take it back by hand";
        return Move::Refused(reason.to_owned());
    }
    view.patch(None, Some(("status", json!({"abort": true}))), !view.is_paused_here())
}

fn promote(view: &View<'_>, id: &str) -> Move {
    if view.is_aborted() {
        return Move::Refused("it has been aborted".to_owned());
    }
    if view.is_complete() {
        return Move::Done;
    }
    let step = view.step();
    let note = json!(format!("{id}/{}", step.map_or("-".to_owned(), |step| step.to_string())));
    let noted = view.annotation(PROMOTING).filter(|noted| noted.split('/').next() == Some(id));
    if noted.is_some_and(|noted| note != noted) {
        return Move::Done;
    }
    if view.is_paused_here() {
        return view.unpause(false);
    }
    if view.is("/spec/paused") {
        return Move::Later("somebody has paused it (spec.paused)".to_owned());
    }
    if !view.waits() && !view.is_in_analysis() {
        let reason = "it is on its way to a step at which it waits";
        return Move::Later(reason.to_owned());
    }
    if noted.is_none() {
        return view.patch(Some((PROMOTING, note)), None, false);
    }
    let status = match step {
        Some(step) if view.waits() && view.is_inconclusive() => {
            json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": step + 1})
        }
        Some(step) if !view.waits() => json!({"pauseConditions": null, "currentStepIndex": step + 1}),
        _ => json!({"pauseConditions": null}),
    };
    view.patch(None, Some(("status", status)), true)
}

/// All that is left of it: at its last step that is this step.
fn finish(view: &View<'_>, id: &str) -> Move {
    let is_at_last = view.step().zip(view.steps()).is_some_and(|(step, steps)| step + 1 == steps.len());
    if view.is_aborted() || view.is_complete() || (is_at_last && view.waits()) {
        return promote(view, id);
    }
    if view.is_paused_here() {
        return view.unpause(false);
    }
    if view.is("/status/promoteFull") || view.step().zip(view.steps()).is_some_and(|(step, steps)| step >= steps.len())
    {
        return Move::Done;
    }
    view.patch(None, Some(("status", json!({"promoteFull": true}))), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ArgoRollout;

    fn order(action: Action) -> Order {
        let target = ArgoRollout { namespace: "shop".to_owned(), name: "pay".to_owned() };
        Order { target, action, id: "v1".to_owned() }
    }

    /// In the middle of a release, before a step that pauses.
    fn rollout() -> Value {
        json!({
            "metadata": {"name": "pay", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"strategy": {"canary": {"steps": [
                {"setWeight": 5}, {"pause": {}}, {"setWeight": 50}, {"analysis": {"templates": []}}, {"pause": {}},
            ]}}},
            "status": {"currentPodHash": "new", "stableRS": "old", "currentStepIndex": 0},
        })
    }

    fn with(change: &Value) -> Value {
        let mut rollout = rollout();
        merge(&mut rollout, change);
        rollout
    }

    /// JSON merge patch (RFC 7386).
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else { return target.clone_from(patch) };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in patch {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                merge(&mut target[name.as_str()], value);
            }
        }
    }

    fn waiting(step: usize) -> Value {
        json!({"status": {"currentStepIndex": step, "pauseConditions": [{"reason": "CanaryPauseStep"}]}})
    }

    /// Carries an order out: the bodies of its requests, and how it ends.
    fn carry_out(rollout: &mut Value, order: &Order) -> (Vec<String>, Move) {
        let mut bodies = Vec::new();
        loop {
            match next(rollout, order) {
                Move::Patch(Patch { is_status, body, is_last }) => {
                    merge(rollout, &serde_json::from_str(&body).unwrap());
                    bodies.push(format!("{}{body}", if is_status { "status " } else { "" }));
                    if is_last {
                        return (bodies, Move::Done);
                    }
                }
                end => return (bodies, end),
            }
        }
    }

    fn shown(mut rollout: Value, action: Action) -> String {
        let (bodies, end) = carry_out(&mut rollout, &order(action));
        format!("{} -> {end:?}", bodies.join(" | "))
    }

    #[test]
    fn every_order_in_every_state() {
        let inconclusive = json!({"status": {
            "currentStepIndex": 3, "controllerPause": true,
            "pauseConditions": [{"reason": "InconclusiveAnalysisRun"}],
            "canary": {"currentStepAnalysisRunStatus": {"status": "Inconclusive"}},
        }});
        let paused_here = json!({"metadata": {"annotations": {"sloburn.io/paused": "v0"}}, "spec": {"paused": true}});
        let states = [
            ("between steps", rollout()),
            ("waiting", with(&waiting(1))),
            ("waiting at the last step", with(&waiting(4))),
            ("in an analysis", with(&json!({"status": {"currentStepIndex": 3}}))),
            ("inconclusive", with(&inconclusive)),
            ("paused by us", with(&paused_here)),
            ("paused by somebody", with(&json!({"spec": {"paused": true}}))),
            ("aborted", with(&json!({"status": {"abort": true}}))),
            ("complete", with(&json!({"status": {"stableRS": "new"}}))),
        ];
        let actions = [Action::Abort, Action::Promote, Action::Finish, Action::Pause, Action::Resume];
        let mut lines = Vec::new();
        for (state, rollout) in states {
            let of = |action| format!("  {action:?}: {}", shown(rollout.clone(), action));
            lines.push(format!("{state}\n{}", actions.map(of).join("\n")));
        }
        insta::assert_snapshot!("argo_moves", lines.join("\n"));
    }

    #[test]
    fn a_promotion_that_comes_again_skips_nothing() {
        let mut rollout = with(&waiting(1));
        let promote = order(Action::Promote);
        // The note is taken, then the process dies.
        let Move::Patch(note) = next(&rollout, &promote) else { panic!("a note") };
        merge(&mut rollout, &serde_json::from_str(&note.body).unwrap());
        assert_eq!(carry_out(&mut rollout, &promote).0.len(), 1);
        assert!(matches!(next(&rollout, &promote), Move::Later(_)), "until the controller has seen it");
        merge(&mut rollout, &waiting(4));
        assert_eq!(carry_out(&mut rollout, &promote), (vec![], Move::Done), "it is past that step");
        let other = Order { id: "v2".to_owned(), ..promote };
        assert_eq!(carry_out(&mut rollout, &other).0.len(), 2, "the next promotion");
    }

    #[test]
    fn an_abort_comes_through_a_pause_of_ours() {
        let mut rollout = with(&waiting(1));
        carry_out(&mut rollout, &order(Action::Pause));
        assert_eq!(rollout["spec"]["paused"], true);
        carry_out(&mut rollout, &order(Action::Abort));
        assert_eq!((&rollout["spec"]["paused"], &rollout["status"]["abort"]), (&json!(false), &json!(true)));
        assert_eq!(carry_out(&mut rollout, &order(Action::Abort)), (vec![], Move::Done));
    }
}
