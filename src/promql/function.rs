//! The functions: names, arguments and results. The parser checks calls against this table; the evaluator
//! dispatches on [`FunctionId`].

use crate::promql::ast::Type;

/// A function's signature.
#[derive(Debug)]
pub struct Function {
    /// As written.
    pub name: &'static str,
    /// Which.
    pub id: FunctionId,
    /// Argument types. With [`Variadic`] the last may be left out or repeated.
    pub args: &'static [Type],
    /// How often the last argument may occur.
    pub variadic: Variadic,
    /// The type of the result.
    pub returns: Type,
}

/// How often the last argument of a function may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// Once.
    No,
    /// Not at all to this many times.
    UpTo(usize),
    /// Not at all or any number of times.
    Any,
}

macro_rules! functions {
    ($($name:literal $id:ident ($($arg:ident),*) $variadic:expr, $returns:ident;)*) => {
        /// The functions' identities.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the function of its name")]
        pub enum FunctionId { $($id),* }

        /// All functions, by name.
        pub static FUNCTIONS: &[Function] = &[
            $(Function {
                name: $name, id: FunctionId::$id, args: &[$(Type::$arg),*], variadic: $variadic, returns: Type::$returns
            }),*
        ];
    };
}

use Variadic::{Any, No, UpTo};

functions! {
    "abs" Abs (Vector) No, Vector;
    "absent" Absent (Vector) No, Vector;
    "absent_over_time" AbsentOverTime (Matrix) No, Vector;
    "acos" Acos (Vector) No, Vector;
    "acosh" Acosh (Vector) No, Vector;
    "asin" Asin (Vector) No, Vector;
    "asinh" Asinh (Vector) No, Vector;
    "atan" Atan (Vector) No, Vector;
    "atanh" Atanh (Vector) No, Vector;
    "avg_over_time" AvgOverTime (Matrix) No, Vector;
    "ceil" Ceil (Vector) No, Vector;
    "changes" Changes (Matrix) No, Vector;
    "clamp" Clamp (Vector, Scalar, Scalar) No, Vector;
    "clamp_max" ClampMax (Vector, Scalar) No, Vector;
    "clamp_min" ClampMin (Vector, Scalar) No, Vector;
    "cos" Cos (Vector) No, Vector;
    "cosh" Cosh (Vector) No, Vector;
    "count_over_time" CountOverTime (Matrix) No, Vector;
    "day_of_month" DayOfMonth (Vector) UpTo(1), Vector;
    "day_of_week" DayOfWeek (Vector) UpTo(1), Vector;
    "day_of_year" DayOfYear (Vector) UpTo(1), Vector;
    "days_in_month" DaysInMonth (Vector) UpTo(1), Vector;
    "deg" Deg (Vector) No, Vector;
    "delta" Delta (Matrix) No, Vector;
    "deriv" Deriv (Matrix) No, Vector;
    "double_exponential_smoothing" DoubleExponentialSmoothing (Matrix, Scalar, Scalar) No, Vector;
    "end" End () No, Scalar;
    "exp" Exp (Vector) No, Vector;
    "first_over_time" FirstOverTime (Matrix) No, Vector;
    "floor" Floor (Vector) No, Vector;
    "histogram_avg" HistogramAvg (Vector) No, Vector;
    "histogram_count" HistogramCount (Vector) No, Vector;
    "histogram_fraction" HistogramFraction (Scalar, Scalar, Vector) No, Vector;
    "histogram_quantile" HistogramQuantile (Scalar, Vector) No, Vector;
    "histogram_quantiles" HistogramQuantiles (Vector, String, Scalar, Scalar) UpTo(9), Vector;
    "histogram_stddev" HistogramStddev (Vector) No, Vector;
    "histogram_stdvar" HistogramStdvar (Vector) No, Vector;
    "histogram_sum" HistogramSum (Vector) No, Vector;
    "hour" Hour (Vector) UpTo(1), Vector;
    "idelta" Idelta (Matrix) No, Vector;
    "increase" Increase (Matrix) No, Vector;
    "info" Info (Vector, Vector) UpTo(1), Vector;
    "irate" Irate (Matrix) No, Vector;
    "label_join" LabelJoin (Vector, String, String, String) Any, Vector;
    "label_replace" LabelReplace (Vector, String, String, String, String) No, Vector;
    "last_over_time" LastOverTime (Matrix) No, Vector;
    "ln" Ln (Vector) No, Vector;
    "log10" Log10 (Vector) No, Vector;
    "log2" Log2 (Vector) No, Vector;
    "mad_over_time" MadOverTime (Matrix) No, Vector;
    "max_of" MaxOf (Scalar, Scalar) No, Scalar;
    "max_over_time" MaxOverTime (Matrix) No, Vector;
    "min_of" MinOf (Scalar, Scalar) No, Scalar;
    "min_over_time" MinOverTime (Matrix) No, Vector;
    "minute" Minute (Vector) UpTo(1), Vector;
    "month" Month (Vector) UpTo(1), Vector;
    "pi" Pi () No, Scalar;
    "predict_linear" PredictLinear (Matrix, Scalar) No, Vector;
    "present_over_time" PresentOverTime (Matrix) No, Vector;
    "quantile_over_time" QuantileOverTime (Scalar, Matrix) No, Vector;
    "rad" Rad (Vector) No, Vector;
    "range" Range () No, Scalar;
    "rate" Rate (Matrix) No, Vector;
    "resets" Resets (Matrix) No, Vector;
    "round" Round (Vector, Scalar) UpTo(1), Vector;
    "scalar" Scalar (Vector) No, Scalar;
    "sgn" Sgn (Vector) No, Vector;
    "sin" Sin (Vector) No, Vector;
    "sinh" Sinh (Vector) No, Vector;
    "sort" Sort (Vector) No, Vector;
    "sort_by_label" SortByLabel (Vector, String) Any, Vector;
    "sort_by_label_desc" SortByLabelDesc (Vector, String) Any, Vector;
    "sort_desc" SortDesc (Vector) No, Vector;
    "sqrt" Sqrt (Vector) No, Vector;
    "start" Start () No, Scalar;
    "start_timestamp" StartTimestamp (Vector) No, Vector;
    "stddev_over_time" StddevOverTime (Matrix) No, Vector;
    "stdvar_over_time" StdvarOverTime (Matrix) No, Vector;
    "step" Step () No, Scalar;
    "sum_over_time" SumOverTime (Matrix) No, Vector;
    "tan" Tan (Vector) No, Vector;
    "tanh" Tanh (Vector) No, Vector;
    "time" Time () No, Scalar;
    "timestamp" Timestamp (Vector) No, Vector;
    "ts_of_first_over_time" TsOfFirstOverTime (Matrix) No, Vector;
    "ts_of_last_over_time" TsOfLastOverTime (Matrix) No, Vector;
    "ts_of_max_over_time" TsOfMaxOverTime (Matrix) No, Vector;
    "ts_of_min_over_time" TsOfMinOverTime (Matrix) No, Vector;
    "vector" Vector (Scalar) No, Vector;
    "year" Year (Vector) UpTo(1), Vector;
}

impl Function {
    /// The function of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
    }

    /// Whether its result can differ between steps when its arguments do not.
    pub const fn depends_on_time(&self) -> bool {
        use FunctionId as F;
        matches!(
            self.id,
            F::DaysInMonth
                | F::DayOfMonth
                | F::DayOfWeek
                | F::DayOfYear
                | F::Hour
                | F::Minute
                | F::Month
                | F::Year
                | F::PredictLinear
                | F::Time
                | F::Timestamp
        )
    }

    /// Whether its result is a property of the query: its start, end, range or step.
    pub const fn depends_on_query(&self) -> bool {
        matches!(self.id, FunctionId::Start | FunctionId::End | FunctionId::Range | FunctionId::Step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        for function in FUNCTIONS {
            assert_eq!(Function::find(function.name).map(|f| f.id), Some(function.id), "{}", function.name);
        }
        assert!(Function::find("nope").is_none());
    }
}
