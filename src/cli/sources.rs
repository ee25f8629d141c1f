//! Reads the files and folders named on the command line.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::spec::{SOURCE_LIMIT_BYTES, Source};

/// More files than this are taken for a wrong folder.
const FILES_LIMIT_COUNT: usize = 10_000;
/// Deeper folders are refused.
const FOLDERS_LIMIT_LEVELS: usize = 32;
/// Stands for standard input.
pub(super) const STDIN: &str = "-";

/// Why the files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is there.
    #[error("no such file or folder: {}", .0.display())]
    Missing(PathBuf),
    /// The system says no.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// YAML is Unicode.
    #[error("{} is not UTF-8 text", .0.display())]
    NotUtf8(PathBuf),
    /// Over 10,000 files.
    #[error("more than {FILES_LIMIT_COUNT} files under {}", .0.display())]
    TooMany(PathBuf),
    /// Over 32 levels.
    #[error("folders nested deeper than {FOLDERS_LIMIT_LEVELS} levels at {}", .0.display())]
    TooDeep(PathBuf),
}

/// Reads what `paths` name, in that order, each file once.
///
/// A folder stands for all `*.yaml` and `*.yml` files below it, sorted; hidden entries are skipped, and so are
/// the `..data` folders of a mounted `ConfigMap`, whose files are symbolic links. Links to files are followed,
/// links to folders below a folder are not. `-` is standard input. The last component of a path may hold `*` and
/// `?`, and then need not match anything.
///
/// # Errors
/// On the first path that is missing or cannot be read.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<Source>, LoadError> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files)?;
    }
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for path in files {
        if path.as_os_str() == STDIN {
            sources.push(read(Path::new("<stdin>"), io::stdin().lock())?);
            continue;
        }
        let failed = |source| LoadError::Read { path: path.clone(), source };
        // The same file by two ways, such as a folder and a file in it, is one source.
        if seen.insert(fs::canonicalize(&path).map_err(failed)?) {
            sources.push(read(&path, fs::File::open(&path).map_err(failed)?)?);
        }
    }
    Ok(sources)
}

fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    if path.as_os_str() == STDIN {
        files.push(path.to_owned());
        return Ok(());
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => walk(path, 0, files),
        Ok(_) => {
            files.push(path.to_owned());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match pattern(path) {
            Some(pattern) => matching(path, pattern, files),
            None => Err(LoadError::Missing(path.to_owned())),
        },
        Err(source) => Err(LoadError::Read { path: path.to_owned(), source }),
    }
}

/// Adds the specs below a folder.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    if depth > FOLDERS_LIMIT_LEVELS {
        return Err(LoadError::TooDeep(folder.to_owned()));
    }
    for (name, path) in entries(folder)? {
        if name.starts_with('.') {
            continue;
        }
        let failed = |source| LoadError::Read { path: path.clone(), source };
        if fs::symlink_metadata(&path).map_err(failed)?.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if is_spec(&path) && fs::metadata(&path).map_err(failed)?.is_file() {
            push(path, folder, files)?;
        }
    }
    Ok(())
}

fn is_spec(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn push(path: PathBuf, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    if files.len() == FILES_LIMIT_COUNT {
        return Err(LoadError::TooMany(folder.to_owned()));
    }
    files.push(path);
    Ok(())
}

/// Names and paths of what a folder holds, sorted. Names that are no Unicode are no specs.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, LoadError> {
    let failed = |source| LoadError::Read { path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The last component, where it holds wildcards.
fn pattern(path: &Path) -> Option<&str> {
    path.file_name()?.to_str().filter(|name| name.contains(['*', '?']))
}

fn matching(path: &Path, pattern: &str, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(LoadError::Missing(folder.to_owned()));
    }
    for (name, found) in entries(folder)? {
        let shown = parent.map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name));
        if !name.starts_with('.') && matches(pattern, &name) && found.is_file() {
            push(shown, folder, files)?;
        }
    }
    Ok(())
}

/// Whether `name` fits a pattern of `*` (any characters) and `?` (one character).
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on if the latest star has to take one character more.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n + 1));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, next)) = retry else { return false };
                (p, n) = (after, next);
                retry = Some((after, next + 1));
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn read(path: &Path, input: impl Read) -> Result<Source, LoadError> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the parser to refuse the file in its own words.
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    input.take(SOURCE_LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > SOURCE_LIMIT_BYTES {
        // The cut may have split a character.
        return Ok(Source::new(path, String::from_utf8_lossy(&bytes)));
    }
    let text = String::from_utf8(bytes).map_err(|_| LoadError::NotUtf8(path.to_owned()))?;
    Ok(Source::new(path, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(|p| root.join(p)).collect();
        let sources = collect(&paths).unwrap();
        let shown = |s: &Source| s.path.strip_prefix(root).unwrap().display().to_string();
        sources.iter().map(shown).collect()
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a: 1\n").unwrap();
        }
        root
    }

    #[test]
    fn folders_are_read_below_and_in_order() {
        let root =
            tree(&["r/b.yaml", "r/a.yml", "r/sub/c.yaml", "r/.git/x.yaml", "r/.hidden.yaml", "r/readme.md", "z.yaml"]);
        assert_eq!(names(root.path(), &["r"]), ["r/a.yml", "r/b.yaml", "r/sub/c.yaml"]);
        assert_eq!(names(root.path(), &["z.yaml", "r/b.yaml", "r"]), ["z.yaml", "r/b.yaml", "r/a.yml", "r/sub/c.yaml"]);
        assert_eq!(names(root.path(), &["r/*.yaml", "none-*.yaml"]), ["r/b.yaml"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_mounted_config_map_is_read_once() {
        use std::os::unix::fs::symlink;
        let root = tree(&["r/..2026_08_01/a.yaml"]);
        symlink("..2026_08_01", root.path().join("r/..data")).unwrap();
        symlink("..data/a.yaml", root.path().join("r/a.yaml")).unwrap();
        symlink("..", root.path().join("r/loop")).unwrap();
        assert_eq!(names(root.path(), &["r"]), ["r/a.yaml"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tree(&["bytes.yaml"]);
        let missing = collect(&[root.path().join("nope.yaml")]).unwrap_err().to_string();
        assert!(missing.starts_with("no such file or folder: ") && missing.ends_with("nope.yaml"), "{missing}");
        assert!(matches!(collect(&[root.path().join("nope/*.yaml")]), Err(LoadError::Missing(_))));
        fs::write(root.path().join("bytes.yaml"), [0xff, 0xfe]).unwrap();
        assert!(matches!(collect(&[root.path().to_owned()]), Err(LoadError::NotUtf8(_))));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a?c*", "abcdef", true),
            ("*a*b", "xaxxab", true),
            ("*a*b", "xaxxa", false),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
