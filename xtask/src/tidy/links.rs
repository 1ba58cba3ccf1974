//! A relative link in a document leads to a file that exists and, behind `#`, to one of its
//! headings.
//!
//! Addresses on the web are not asked for: a check that needs the network fails for reasons of its
//! own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::source::Source;
use super::{Problem, Workspace};

/// Checks every document of the workspace.
pub fn lead_somewhere(workspace: &Workspace<'_>) -> Result<Vec<Problem>> {
    let root = workspace.sh.current_dir();
    Ok(problems(&workspace.files, &|path| root.join(path).exists()))
}

/// Checks the documents among `files`; `exists` answers for a path from the folder of the
/// workspace.
fn problems(files: &[Source], exists: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let documents: Vec<&Source> = files.iter().filter(|file| file.path.ends_with(".md")).collect();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        documents.iter().map(|file| (file.path.as_str(), anchors(&file.text))).collect();
    let mut problems = vec![];
    for document in &documents {
        for Link { line, target } in links(&document.text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => Some(document.path.clone()),
                file => joined(&document.path, file),
            };
            let message = match path {
                None => Some(format!("`{target}` leads out of the workspace")),
                Some(path) if !exists(&path) => {
                    Some(format!("`{target}` leads to `{path}`, which does not exist"))
                }
                Some(path) => anchors
                    .get(path.as_str())
                    .filter(|known| !anchor.is_empty() && !known.contains(anchor))
                    .map(|_| format!("`{target}` leads to no heading of `{path}`")),
            };
            problems.extend(message.map(|it| Problem::new(&document.path, line, it)));
        }
    }
    problems
}

/// A relative link.
struct Link {
    line: usize,
    target: String,
}

/// Returns the relative links of a document: `[text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<Link> {
    let mut links = vec![];
    for (line, content) in prose(text) {
        let content = without_code(content);
        let mut targets: Vec<&str> = vec![];
        for (at, _) in content.match_indices("](") {
            let rest = &content[at + 2..];
            targets.extend(rest.split([')', ' ']).next());
        }
        if let Some((name, target)) = content.split_once("]: ")
            && name.trim_start().starts_with('[')
        {
            targets.extend(target.split_whitespace().next());
        }
        let is_relative = |target: &&str| !target.contains(':') && !target.starts_with('/');
        let targets = targets.into_iter().filter(is_relative).filter(|target| !target.is_empty());
        links.extend(targets.map(|target| Link { line, target: target.to_owned() }));
    }
    links
}

/// Returns the lines of a document outside of fenced code, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((index + 1, line))
    })
}

/// Replaces code between backticks by nothing.
fn without_code(line: &str) -> String {
    if line.matches('`').count() % 2 == 1 {
        return line.to_owned();
    }
    line.split('`').step_by(2).collect()
}

/// Returns what `link` names from the folder of `document`; `None` is a path out of the workspace.
fn joined(document: &str, link: &str) -> Option<String> {
    let mut folders: Vec<&str> = document.split('/').collect();
    folders.pop();
    for name in link.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                folders.pop()?;
            }
            name => folders.push(name),
        }
    }
    Some(if folders.is_empty() { ".".to_owned() } else { folders.join("/") })
}

/// Returns the anchors of a document's headings as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor = anchor(title.trim());
        let mut numbered = anchor.clone();
        let mut number = 0;
        while !anchors.insert(numbered.clone()) {
            number += 1;
            numbered = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// Makes the anchor of a title: small letters, spaces as `-`, and no other signs.
fn anchor(title: &str) -> String {
    let mut shown = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        shown += before; // of a link only its text is shown
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    shown += rest;
    let kept = shown.chars().filter(|it| it.is_alphanumeric() || [' ', '-', '_'].contains(it));
    kept.flat_map(char::to_lowercase).map(|it| if it == ' ' { '-' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, wanted: &[&str]) {
        let other =
            "# Other page\n\n## `mm draw`, twice\n\n## Again\n\n## Again\n\n```sh\n# none\n```\n";
        let files = [Source::new("docs/a.md", document), Source::new("docs/b.md", other)];
        let exists =
            |path: &str| ["docs/a.md", "docs/b.md", "docs/c.png", "README.md"].contains(&path);
        let found: Vec<String> = problems(&files, &exists).iter().map(Problem::to_string).collect();
        assert_eq!(found, wanted, "{document}");
    }

    #[test]
    fn a_link_to_a_file_that_does_not_exist_is_named() {
        check("[b](b.md) ![c](c.png) [r](../README.md)\n", &[]);
        check(
            "\nsee [x](b.md) and [x](x.md)\n\n[y]: ../y.md\n",
            &[
                "docs/a.md:2: `x.md` leads to `docs/x.md`, which does not exist",
                "docs/a.md:4: `../y.md` leads to `y.md`, which does not exist",
            ],
        );
        check("[x](../../x.md)\n", &["docs/a.md:1: `../../x.md` leads out of the workspace"]);
    }

    #[test]
    fn a_link_to_a_heading_that_does_not_exist_is_named() {
        check(
            "# Title\n[a](#title) [b](b.md#other-page) [c](b.md#mm-draw-twice) [d](b.md#again-1)\n",
            &[],
        );
        check(
            "[a](#none) [b](b.md#none)\n",
            &[
                "docs/a.md:1: `#none` leads to no heading of `docs/a.md`",
                "docs/a.md:1: `b.md#none` leads to no heading of `docs/b.md`",
            ],
        );
    }

    #[test]
    fn addresses_and_code_are_no_relative_links() {
        check("[a](https://a.org/x.md) [b](mailto:b@c.d) `[x](x.md)`\n", &[]);
        check("```text\n[x](x.md)\n```\n", &[]);
    }

    #[test]
    fn a_heading_with_a_link_is_known_by_its_text() {
        assert_eq!(anchor("[The book](https://a.org), in short"), "the-book-in-short");
    }
}
