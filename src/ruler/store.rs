//! Rules on the store of recent samples.

use std::sync::Arc;

use crate::promql::Value;
use crate::ruler::{AppendError, RuleStore};
use crate::store::{OutOfOrder, Store};
use crate::types::{Labels, Timestamp};

impl RuleStore for Store {
    fn append(&self, labels: &Arc<Labels>, at: Timestamp, value: &Value) -> Result<(), AppendError> {
        self.append_in_order(labels, at, value).map_err(|error| match error {
            OutOfOrder::Late => AppendError::OutOfOrder,
            OutOfOrder::Duplicate => AppendError::Duplicate,
        })
    }
}
