//! "Did you mean": the nearest of some known words.

/// Longer words are not compared.
const WORD_LIMIT_CHARS: usize = 64;
/// At most this many candidates are looked at.
const CANDIDATES_LIMIT_COUNT: usize = 1_000;

/// The candidate nearest to `word`, when near enough to be what was meant: a third of its letters may
/// differ. Case, `-` and `_` do not count, so that `version_label` finds `versionLabel`.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = letters(word)?;
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .take(CANDIDATES_LIMIT_COUNT)
        .filter_map(|candidate| {
            let letters = letters(candidate)?;
            let hopeless = letters.len().abs_diff(word.len()) > allowed;
            (!hopeless).then(|| (distance(&word, &letters), candidate))
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Option<Vec<char>> {
    let letters: Vec<char> =
        word.chars().take(WORD_LIMIT_CHARS + 1).filter(|c| !"-_".contains(*c)).flat_map(char::to_lowercase).collect();
    (!letters.is_empty() && letters.len() <= WORD_LIMIT_CHARS).then_some(letters)
}

/// Levenshtein's distance, with a swap of two neighbours as one edit.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let fields = ["name", "sli", "objective", "period", "versionLabel"];
        for (word, expected) in [
            ("objectve", Some("objective")),
            ("obejctive", Some("objective")),
            ("version_label", Some("versionLabel")),
            ("SLI", Some("sli")),
            ("nmae", Some("name")),
            ("window", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, fields), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), fields), None);
    }

    #[test]
    fn distances_are_known() {
        let of = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!((of("kitten", "sitting"), of("ab", "ba"), of("", "abc"), of("abc", "abc")), (3, 1, 3, 0));
    }
}
