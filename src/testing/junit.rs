//! Results as `JUnit` XML, which every CI shows.

use crate::testing::Verdict;

/// One `testsuite` for each file: its path and its tests' verdicts.
pub fn junit(files: &[(String, Vec<Verdict>)]) -> String {
    let failed = |verdicts: &[Verdict]| verdicts.iter().filter(|v| !v.failures.is_empty()).count();
    let all: usize = files.iter().map(|(_, verdicts)| verdicts.len()).sum();
    let all_failed: usize = files.iter().map(|(_, verdicts)| failed(verdicts)).sum();
    let mut lines = vec![
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
        format!("<testsuites name=\"sloburn\" tests=\"{all}\" failures=\"{all_failed}\">"),
    ];
    for (path, verdicts) in files {
        let (name, tests, failures) = (escaped(path), verdicts.len(), failed(verdicts));
        lines.push(format!("  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">"));
        for verdict in verdicts {
            let case = format!("    <testcase classname=\"{name}\" name=\"{}\"", escaped(&verdict.name));
            if verdict.failures.is_empty() {
                lines.push(format!("{case}/>"));
                continue;
            }
            lines.push(format!("{case}>"));
            let text = escaped(&verdict.failures.join("\n"));
            let first = escaped(verdict.failures[0].lines().next().unwrap_or_default());
            lines.push(format!("      <failure message=\"{first}\">{text}</failure>"));
            lines.push("    </testcase>".to_owned());
        }
        lines.push("  </testsuite>".to_owned());
    }
    lines.push("</testsuites>\n".to_owned());
    lines.join("\n")
}

/// Text as XML has it; characters XML 1.0 cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_well_formed() {
        let passed = Verdict { name: "a".to_owned(), failures: Vec::new() };
        let failed = Verdict { name: "b <&\">\u{1}".to_owned(), failures: vec!["line 3:\n  x".to_owned()] };
        assert_eq!(
            junit(&[("t.yaml".to_owned(), vec![passed, failed])]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"sloburn\" tests=\"2\" failures=\"1\">
  <testsuite name=\"t.yaml\" tests=\"2\" failures=\"1\">
    <testcase classname=\"t.yaml\" name=\"a\"/>
    <testcase classname=\"t.yaml\" name=\"b &lt;&amp;&quot;&gt;\u{fffd}\">
      <failure message=\"line 3:\">line 3:
  x</failure>
    </testcase>
  </testsuite>
</testsuites>
"
        );
    }
}
