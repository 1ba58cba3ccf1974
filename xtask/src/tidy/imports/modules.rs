//! This module reads the modules of a crate and follows their paths to the files that define what
//! the paths name.
//!
//! It knows modules in files and in blocks, `use` with braces, `as` and `*`, and re-exports. It
//! does not know macros, `#[path]` and names that only a type leads to; those make no edge.

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;
use crate::tidy::source::Source;

/// Longer chains of re-exports than this are circles of their own.
const LONGEST_CHAIN: usize = 16;

/// The keywords of items; a name follows each.
const ITEMS: [&str; 9] =
    ["const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union"];

/// Returns which file of a crate imports which; `root` is the folder that its modules stand in.
///
/// An edge between a module and one above or below it is left out.
pub fn graph(root: &str, files: &[&Source]) -> Graph {
    let mut tree = Tree::default();
    for (index, file) in files.iter().enumerate() {
        tree.module(&path_of_file(&file.path[root.len()..]), index);
    }
    let mut mentions = vec![];
    for (index, file) in files.iter().enumerate() {
        tree.read(file, index, &path_of_file(&file.path[root.len()..]), &mut mentions);
    }
    let mut graph = vec![BTreeMap::new(); files.len()];
    for Mention { file, module, path, line } in mentions {
        let Some(target) = tree.resolve(module, &path, 0) else { continue };
        let to = tree.modules[target].file;
        let [from_path, to_path] = [file, to].map(|of| path_of_file(&files[of].path[root.len()..]));
        if !from_path.starts_with(&to_path) && !to_path.starts_with(&from_path) {
            graph[file].entry(to).or_insert(line);
        }
    }
    graph
}

/// Returns the names of the modules down to that of a file: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn path_of_file(below_root: &str) -> Vec<String> {
    let bare = below_root.trim_end_matches(".rs");
    let mut names: Vec<String> = bare.split('/').map(String::from).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    if names == ["lib"] || names == ["main"] {
        names.clear();
    }
    names
}

/// A path that a file mentions.
struct Mention {
    file: usize,
    /// Is the module that the path stands in.
    module: usize,
    path: Vec<String>,
    line: usize,
}

#[derive(Default)]
struct Tree {
    modules: Vec<Module>,
    /// Leads from the names down to a module to its index.
    index: BTreeMap<Vec<String>, usize>,
}

struct Module {
    path: Vec<String>,
    file: usize,
    /// Leads from a name that a `use` brings in to the path that it stands for.
    imported: BTreeMap<String, Vec<String>>,
    /// Holds the paths before `*`.
    globs: Vec<Vec<String>>,
    defined: BTreeSet<String>,
}

impl Tree {
    /// Returns the index of a module, which is made if it is not there.
    fn module(&mut self, path: &[String], file: usize) -> usize {
        if let Some(index) = self.index.get(path) {
            return *index;
        }
        self.modules.push(Module {
            path: path.to_vec(),
            file,
            imported: BTreeMap::new(),
            globs: vec![],
            defined: BTreeSet::new(),
        });
        self.index.insert(path.to_vec(), self.modules.len() - 1);
        self.modules.len() - 1
    }

    /// Reads what the modules of a file define and import, and adds the paths that it mentions.
    fn read(&mut self, source: &Source, file: usize, path: &[String], mentions: &mut Vec<Mention>) {
        let mut open = vec![(self.module(path, file), usize::MAX)];
        let mut index = 0;
        while index < source.tokens.len() {
            while open.last().is_some_and(|(_, end)| index > *end) {
                open.pop();
            }
            let module = open.last().map_or(0, |(module, _)| *module);
            let word = source.word(index);
            if source.in_test(index) {
                index += 1;
                continue;
            }
            if ITEMS.contains(&word) && source.is_name(index + 1) {
                let name = source.word(index + 1).to_owned();
                if word == "mod" && source.word(index + 2) == "{" {
                    let mut below = self.modules[module].path.clone();
                    below.push(name.clone());
                    open.push((self.module(&below, file), source.partner(index + 2)));
                }
                self.modules[module].defined.insert(name);
            } else if word == "use" {
                let mut import = Import { source, at: index + 1, found: vec![] };
                import.tree(vec![]);
                index = import.at;
                for Found { path, name, line } in import.found {
                    self.import(module, path.clone(), name);
                    mentions.push(Mention { file, module, path, line });
                }
                continue;
            } else if is_start_of_path(source, index) {
                let (path, end) = path_at(source, index);
                mentions.push(Mention { file, module, path, line: source.line(index) });
                index = end;
                continue;
            }
            index += 1;
        }
    }

    fn import(&mut self, module: usize, path: Vec<String>, name: Option<String>) {
        let module = &mut self.modules[module];
        match name {
            Some(name) => {
                module.imported.insert(name, path);
            }
            None => module.globs.push(path),
        }
    }

    /// Follows a path to the module that it names, or that defines what it names. `None` is a path
    /// into another crate.
    fn resolve(&self, from: usize, path: &[String], chain: usize) -> Option<usize> {
        if chain > LONGEST_CHAIN {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let (mut module, mut rest) = match first.as_str() {
            "crate" => (*self.index.get(&vec![])?, rest),
            "self" => (from, rest),
            "super" => (self.above(from)?, rest),
            name if self.below(from, name).is_some() => (from, path),
            name if self.modules[from].imported.get(name).is_some_and(|to| to != path) => {
                (from, path)
            }
            _ => return None,
        };
        while let Some((name, behind)) = rest.split_first() {
            if name == "super" {
                module = self.above(module)?;
            } else if let Some(below) = self.below(module, name) {
                module = below;
            } else {
                return self.resolve_name(module, name, behind, chain);
            }
            rest = behind;
        }
        Some(module)
    }

    /// Follows a name that is no module below `module`: an import, something from a `*`, or an
    /// item.
    fn resolve_name(
        &self,
        module: usize,
        name: &str,
        behind: &[String],
        chain: usize,
    ) -> Option<usize> {
        let owner = self.owner(module, name, chain).unwrap_or(module);
        let here = vec!["self".to_owned(), name.to_owned()];
        let path = match self.modules[owner].imported.get(name) {
            Some(path) => path,
            None if self.below(owner, name).is_some() => &here,
            None => return Some(owner),
        };
        let longer: Vec<String> = path.iter().chain(behind).cloned().collect();
        self.resolve(owner, &longer, chain + 1)
    }

    /// Returns the module that has a name by itself: `module`, or one whose names a `*` brings in.
    fn owner(&self, module: usize, name: &str, chain: usize) -> Option<usize> {
        let Module { imported, globs, defined, .. } = &self.modules[module];
        if imported.contains_key(name)
            || defined.contains(name)
            || self.below(module, name).is_some()
        {
            return Some(module);
        }
        if chain > LONGEST_CHAIN {
            return None;
        }
        let targets = globs.iter().filter_map(|glob| self.resolve(module, glob, chain + 1));
        let mut targets = targets.filter(|target| *target != module);
        targets.find_map(|target| self.owner(target, name, chain + 1))
    }

    fn above(&self, module: usize) -> Option<usize> {
        let (_, above) = self.modules[module].path.split_last()?;
        self.index.get(above).copied()
    }

    fn below(&self, module: usize, name: &str) -> Option<usize> {
        let mut path = self.modules[module].path.clone();
        path.push(name.to_owned());
        self.index.get(&path).copied()
    }
}

/// Says whether `crate::`, `self::` or `super::` begins at a token, outside of `pub(in path)`.
fn is_start_of_path(source: &Source, index: usize) -> bool {
    let opens = ["crate", "self", "super"].contains(&source.word(index));
    let before = if index == 0 { "" } else { source.word(index - 1) };
    opens && source.word(index + 1) == "::" && !["::", "in"].contains(&before)
}

/// Returns the names of the path at `index`, and the index behind it.
fn path_at(source: &Source, index: usize) -> (Vec<String>, usize) {
    let mut path = vec![source.word(index).to_owned()];
    let mut end = index + 1;
    while source.word(end) == "::" && source.is_name(end + 1) {
        path.push(source.word(end + 1).to_owned());
        end += 2;
    }
    (path, end)
}

/// One path of a `use` statement.
struct Found {
    path: Vec<String>,
    /// Is the name that the statement brings in; `None` stands for `*`.
    name: Option<String>,
    line: usize,
}

/// Reads one `use` statement.
struct Import<'a> {
    source: &'a Source,
    /// Is the index of the next token.
    at: usize,
    found: Vec<Found>,
}

impl Import<'_> {
    /// Reads one path, or the paths between braces, behind the names in `before`.
    fn tree(&mut self, mut path: Vec<String>) {
        let line = self.source.line(self.at);
        loop {
            match self.source.word(self.at) {
                "::" => self.at += 1,
                "*" => {
                    self.at += 1;
                    return self.found.push(Found { path, name: None, line });
                }
                "{" => return self.braces(&path),
                "as" => {
                    let name = self.source.word(self.at + 1).to_owned();
                    self.at += 2;
                    return self.found.push(Found { path, name: Some(name), line });
                }
                "self" if !path.is_empty() => self.at += 1, // `a::{self}` is `a`
                name if self.source.is_name(self.at) => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
                _ => {
                    let name = path.last().cloned();
                    return self.found.push(Found { path, name, line });
                }
            }
        }
    }

    fn braces(&mut self, path: &[String]) {
        let end = self.source.partner(self.at);
        self.at += 1;
        while self.at < end {
            if self.source.word(self.at) == "," {
                self.at += 1;
            } else {
                self.tree(path.to_vec());
            }
        }
        self.at = end + 1;
    }
}
