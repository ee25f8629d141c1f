//! Prometheus' known answers (`template/template_test.go`), and what goes beyond them.

use super::*;

fn labels() -> Labels {
    Labels::new().with("job", "api").with("instance", "web-1.example.com:9090")
}

fn expand_with(template: &str, value: f64) -> Result<String, TemplateError> {
    let external_labels = Labels::new().with("cluster", "eu");
    let external_url = "http://testhost:9090/path/prefix".parse().unwrap();
    let now = Timestamp(1_353_755_652_000);
    let data = Data { labels: &labels(), external_labels: &external_labels, external_url: &external_url, value, now };
    try_expand("test", template, &data)
}

fn check_all(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(expand_with(template, 1.5).unwrap(), *expected, "{template}");
    }
}

fn fails(template: &str) -> String {
    expand_with(template, 1.5).expect_err(template).to_string()
}

#[test]
fn labels_and_values() {
    check_all(&[
        ("plain text", "plain text"),
        ("{{ 1 }}", "1"),
        ("{{ $value }} {{ .Value }}", "1.5 1.5"),
        ("{{ $labels.job }} {{ .Labels.job }} {{ $.Labels.job }}", "api api api"),
        ("{{ $externalLabels.cluster }}{{ .ExternalLabels.cluster }}", "eueu"),
        ("{{ $externalURL }}", "http://testhost:9090/path/prefix"),
        ("{{ $labels }}", "map[instance:web-1.example.com:9090 job:api]"),
        (
            "{{ range $name, $value := $labels }}{{ $name }}={{ $value }};{{ end }}",
            "instance=web-1.example.com:9090;job=api;",
        ),
        ("{{ with $labels }}{{ .job }}{{ end }}", "api"),
        ("{{ \"<b>\" }}{{ \"<b>\" | safeHtml }}", "<b><b>"),
        ("{{define \"x\"}}{{.arg0}} {{.arg1}}{{end}}{{template \"x\" (args 1 \"2\")}}", "1 2"),
        ("{{- \" a \" -}}  b", " a b"),
    ]);
}

#[test]
fn absent_labels_are_empty() {
    check_all(&[
        ("[{{ $labels.nope }}]", "[]"),
        ("[{{ .Labels.nope | toUpper }}]", "[]"),
        ("{{ if $labels.nope }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if eq $labels.nope \"\" }}yes{{ end }}", "yes"),
        ("{{ printf \"%q\" $labels.nope }}", "\"\""),
        ("[{{ index $labels \"nope\" }}]{{ index $labels \"job\" }}", "[]api"),
        ("{{ $l := .Labels }}[{{ $l.nope }}]", "[]"),
        ("{{ len $labels.nope }}", "0"),
        ("{{ or $labels.nope \"other\" }}", "other"),
        ("[{{ ($labels).nope }}]", "[]"),
    ]);
}

#[test]
fn numbers_print_as_in_go() {
    let print = |value| expand_with("{{ $value }}", value).unwrap();
    for (value, expected) in [
        (0.0, "0"),
        (1.0, "1"),
        (-2.25, "-2.25"),
        (100_000.0, "100000"),
        (1_000_000.0, "1e+06"),
        (1_353_755_652.0, "1.353755652e+09"),
        (123_456.789, "123456.789"),
        (0.0001, "0.0001"),
        (0.000_01, "1e-05"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
        (1e100, "1e+100"),
        (0.1 + 0.2, "0.30000000000000004"),
    ] {
        assert_eq!(print(value), expected);
    }
    check_all(&[
        ("{{ printf \"%.2f %5.1f|%-6s|%d\" $value $value \"ab\" 7 }}", "1.50   1.5|ab    |7"),
        ("{{ $value | printf \"%.1f\" }}", "1.5"),
        ("{{ printf \"%% %8v %v\" 1000000.0 2 }}{{ 1e9 | printf \"%s=%v\" \"x\" }}", "%    1e+06 2x=1e+09"),
        ("{{ print 1 2 \"a\" \"b\" 3.0 4.0 }}", "1 2ab3 4"),
        ("{{ println 1 \"a\" }}", "1 a\n"),
        ("{{ now }}", "1.353755652e+09"),
    ]);
}

#[test]
fn humanized_numbers() {
    check_all(&[
        ("{{ humanize 0.0 }}:{{ humanize 1.0 }}:{{ humanize 1234567.0 }}:{{ humanize .12 }}", "0:1:1.235M:120m"),
        ("{{ humanize \"0.0\" }}:{{ humanize \"1234567.0\" }}:{{ humanize \".12\" }}", "0:1.235M:120m"),
        (
            "{{ humanize 0 }}:{{ humanize -1 }}:{{ humanize 1234567 }}:{{ humanize 9223372036854775807 }}",
            "0:-1:1.235M:9.223E",
        ),
        ("{{ humanize 999.99 }}:{{ humanize 999.999 }}:{{ humanize 1e-30 }}", "1000:1000:1e-06y"),
        ("{{ humanize1024 0.0 }}:{{ humanize1024 1048576.0 }}:{{ humanize1024 .12 }}", "0:1Mi:0.12"),
        ("{{ humanize1024 1234567 }}:{{ humanize1024 9223372036854775807 }}", "1.177Mi:8Ei"),
        (
            "{{ humanizePercentage 0.1234567 }}:{{ -0.22222 | humanizePercentage }}:{{ humanizePercentage 1.23456 }}",
            "12.35%:-22.22%:123.5%",
        ),
        ("{{ humanizePercentage 1234567 }}:{{ humanizePercentage \"0.0\" }}", "1.235e+08%:0%"),
        ("{{ humanizePercentage 9223372036854775807 }}", "9.223e+20%"),
    ]);
    assert!(fails("{{ humanize \"one\" }}").contains("parsing \"one\": invalid syntax"));
    assert!(fails("{{ humanize1024 \"one\" }}").contains("invalid syntax"));
}

#[test]
fn humanized_durations() {
    for (seconds, expected) in [
        ("0", "0s"),
        ("1", "1s"),
        ("60", "1m 0s"),
        ("3600", "1h 0m 0s"),
        ("86400", "1d 0h 0m 0s"),
        ("90000", "1d 1h 0m 0s"),
        ("-183845", "-2d 3h 4m 5s"),
        ("899.99", "14m 59s"),
        (".1", "100ms"),
        (".0001", "100us"),
        (".12345", "123.5ms"),
        ("60.5", "1m 0s"),
        ("1.2345", "1.234s"),
        ("12.345", "12.35s"),
        ("1234567", "14d 6h 56m 7s"),
        ("+Inf", "+Inf"),
        ("NaN", "NaN"),
    ] {
        check_all(&[(&format!("{{{{ humanizeDuration {seconds:?} }}}}"), expected)]);
    }
    check_all(&[("{{ humanizeDuration $value }}{{ -1 | humanizeDuration }}", "1.5s-1s")]);
}

#[test]
fn times_and_durations() {
    check_all(&[
        ("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ \"1435065584.128\" | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        (
            "{{ humanizeTimestamp -1 }}:{{ humanizeTimestamp 9223372036 }}",
            "1969-12-31 23:59:59 +0000 UTC:2262-04-11 23:47:16 +0000 UTC",
        ),
        ("{{ humanizeTimestamp \"+Inf\" }}:{{ humanizeTimestamp \"NaN\" }}", "+Inf:NaN"),
        ("{{ (1435065584.128 | toTime).Format \"2006\" }}", "2015"),
        ("{{ (\"1435065584.128\" | toTime).Format \"2006\" }}", "2015"),
        ("{{ toTime 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ (now | toTime).Format \"Mon Jan 2 15:04:05 2006\" }}", "Sat Nov 24 11:14:12 2012"),
        ("{{ (toTime now).Format \"2006-01-02T15:04:05.000Z07:00\" }}", "2012-11-24T11:14:12.000Z"),
        ("{{ (toTime now).Format \"January _2, 3:04PM 06 .999\" }}", "November 24, 11:14AM 12 "),
        ("{{ (1800 | toDuration).String }}:{{ (\"1800\" | toDuration).String }}", "30m0s:30m0s"),
        ("{{ toDuration 5400.25 }}:{{ toDuration 0.0015 }}:{{ toDuration 0 }}", "1h30m0.25s:1.5ms:0s"),
        ("{{ (toDuration 90).Minutes }}", "1.5"),
        ("{{ (\"-30m\" | parseDuration | toDuration | (now | toTime).Add).UnixMilli }}", "1353753852000"),
        (
            "{{ $t := toTime now }}{{ $t.Year }}-{{ $t.Month }}-{{ $t.Day }} {{ $t.Weekday }} {{ $t.Unix }}",
            "2012-November-24 Saturday 1353755652",
        ),
        ("{{ printf \"%s\" (toTime now) }}", "2012-11-24 11:14:12 +0000 UTC"),
        ("{{ printf \"%0.2f\" (parseDuration \"1h2m10ms\") }}", "3720.01"),
        ("{{ printf \"%0.2f\" (parseDuration \"-1h2m10ms\") }}", "-3720.01"),
    ]);
    let overflow = "-9.223372036854776e+18 cannot be represented as a nanoseconds timestamp since it overflows int64";
    assert!(fails("{{ humanizeTimestamp \"-9223372036854775808\" }}").contains(overflow));
    assert!(fails("{{ toTime \"NaN\" }}").contains("NaN or Inf"));
    assert!(fails("{{ (toTime now).Nope }}").contains("Nope"));
    assert!(fails("{{ parseDuration \"1x\" }}").contains("not a duration"));
}

#[test]
fn texts_and_links() {
    check_all(&[
        ("{{ \"aa bb CC\" | title }}", "Aa Bb CC"),
        ("{{ \"it's a_b c-d 2xx e.f\" | title }}", "It's A_b C-D 2Xx E.f"),
        ("{{ \"aa bb CC\" | toUpper }}{{ \"aA bB CC\" | toLower }}", "AA BB CCaa bb cc"),
        ("{{ toUpper \"straße\" }} {{ toLower \"ΟΔΟΣ\" }} {{ title \"ßa\" }}", "STRAßE οδοσ Ssa"),
        ("{{ match \"a+\" \"aa\" }} {{ match \"a+\" \"b\" }}", "true false"),
        ("{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }}", "xa"),
        ("{{ \"a1b22\" | reReplaceAll \"[0-9]+\" \"<$0>\" }}", "a<1>b<22>"),
        ("{{ reReplaceAll \"x*\" \"-\" \"abc\" }}", "-a-b-c-"),
        ("{{ graphLink \"up\" }}", "/graph?g0.expr=up&g0.tab=0"),
        ("{{ tableLink \"sum(x) by (y)\" }}", "/graph?g0.expr=sum%28x%29+by+%28y%29&g0.tab=1"),
        ("{{ pathPrefix }}", "/path/prefix"),
        ("{{ externalURL }}", "http://testhost:9090/path/prefix"),
        ("{{ urlQueryEscape \"a b&c/~*\" }}", "a+b%26c%2F~%2A"),
    ]);
    assert!(fails("{{ match \"(\" \"a\" }}").contains("regex parse error"));
}

#[test]
fn hosts_and_ports() {
    for (text, port_gone, domain_gone) in [
        ("foo.example.com", "foo.example.com", "foo"),
        ("foo.example.com:12345", "foo.example.com", "foo:12345"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:12345", "192.0.2.1", "192.0.2.1:12345"),
        ("2001:0DB8::1", "2001:0DB8::1", "2001:0DB8::1"),
        ("[2001:0DB8::1]:12345", "2001:0DB8::1", "[2001:0DB8::1]:12345"),
        ("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345"),
        ("", "", ""),
        (":80", "", ":80"),
        ("[", "[", "["),
    ] {
        check_all(&[
            (&format!("{{{{ {text:?} | stripPort }}}}"), port_gone),
            (&format!("{{{{ {text:?} | stripDomain }}}}"), domain_gone),
        ]);
    }
}

#[test]
fn what_needs_a_query_says_so() {
    assert!(fails("{{ query \"up\" | first | value }}").contains("query is not available here"));
    assert!(fails("{{ first 1 }}").contains("expected a query's result"));
    // Samples come from `query` alone, so the functions that take them are called directly.
    let sample = |name: &str, value| {
        map([("Labels", map([("host", Value::String(name.into()))])), ("Value", Value::Float(value))])
    };
    let all = functions::all(functions::Context::default());
    let call = |name: &str, args: &[Value]| (all[name])(args).unwrap();
    let text = |s: &str| Value::String(s.into());
    let sorted = call("sortByLabel", &[text("host"), Value::List([sample("b", 2.0), sample("a", 1.0)].into())]);
    let first = call("first", &[sorted]);
    assert_eq!(call("value", std::slice::from_ref(&first)), Value::Float(1.0));
    assert_eq!(call("label", &[text("host"), first.clone()]), text("a"));
    assert_eq!(call("label", &[text("nope"), first.clone()]), text(""));
    assert_eq!(call("strvalue", &[first]), text(""));
    assert!((all["first"])(&[Value::List([].into())]).unwrap_err().to_string().contains("no elements"));
}

#[test]
fn errors_become_the_text() {
    let (none, url) = (Labels::new(), "http://x".parse().unwrap());
    let data = Data { labels: &none, external_labels: &none, external_url: &url, value: 0.0, now: Timestamp(0) };
    let text = expand("__alert_A", "{{ nope }}", &data);
    assert_eq!(text, "<error expanding template: error parsing template __alert_A: function \"nope\" not defined>");
    for template in [
        "{{",
        "{{ }}",
        "{{ end }}",
        "a {{ else }} b",
        "{{ if 1 }}{{ end }}{{ end }} x",
        "{{ $nope }}",
        "{{ .Nope }}",
        "{{ $value.x }}",
        "{{ template \"nope\" }}",
        "{{ 1 | 2 }}",
    ] {
        assert!(expand("t", template, &data).starts_with("<error expanding template: error "), "{template}");
    }
    assert!(check("t", "{{ if }}").is_err() && check("t", "{{ nope 1 }}").is_err());
    assert!(check("t", "{{ query \"up\" | first | value | humanize }}").is_ok());
}

#[test]
fn templates_cannot_run_away() {
    assert!(matches!(check("t", &"x".repeat(TEXT_LIMIT_BYTES + 1)), Err(TemplateError::TooLong { .. })));
    for template in [
        "{{ range 1000000 }}{{ end }}",
        "{{ range 9999 }}0123456789{{ end }}",
        "{{ $x := \"ab\" }}{{ range 64 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
        "{{ $x := \"ab\" }}{{ range 64 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := \"ab\" }}{{ range 64 }}{{ $x = reReplaceAll \"b\" \"bb\" $x | html }}{{ end }}{{ $x }}",
        "{{ $x := args 1 }}{{ range 64 }}{{ $x = args $x $x }}{{ end }}{{ $x }}",
        "{{define \"a\"}}{{template \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}",
        "{{define \"a\"}}{{if lt . 150}}{{template \"a\" 1}}{{template \"a\" 1}}{{end}}{{end}}{{template \"a\" 1}}",
    ] {
        assert!(fails(template).len() < 500, "{template}");
    }
}

#[test]
fn a_query_is_answered_where_somebody_can() {
    let labels = Labels::new().with("job", "api");
    let (none, url) = (Labels::new(), "http://x/".parse().unwrap());
    let data = Data { labels: &labels, external_labels: &none, external_url: &url, value: 1.0, now: Timestamp(0) };
    let mut asked = Vec::new();
    let mut ask = |text: &str| {
        asked.push(text.to_owned());
        match text {
            "bad" => Err("no such thing".to_owned()),
            _ => Ok(vec![
                (Arc::new(Labels::new().with("instance", "b")), 2.5),
                (Arc::new(Labels::new().with("instance", "a")), 3.0),
            ]),
        }
    };
    let template = "{{ with printf \"up{job='%s'}\" $labels.job | query }}{{ . | first | value }}{{ end }} \
                    {{ range query \"x\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }} \
                    {{ len (query \"x\") }}";
    assert_eq!(expand_asking("t", template, &data, &mut ask), "2.5 a=3;b=2.5; 2");
    let failed = expand_asking("t", "{{ query \"bad\" }}", &data, &mut ask);
    assert!(failed.starts_with("<error expanding template: ") && failed.contains("no such thing"), "{failed}");
    let endless =
        expand_asking("t", "{{ range $i, $x := query \"x\" }}{{ query (print $i) }}{{ end }}", &data, &mut ask);
    assert!(!endless.contains("error"), "{endless}");
    assert_eq!(asked, ["up{job='api'}", "x", "bad", "x", "0", "1"], "each once");
}
