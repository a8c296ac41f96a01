//! Tar archives that are the same bytes for the same files, whoever writes them and when.

use std::{collections::BTreeMap, io, path::Path};

use tar::{Builder, EntryType, Header};

enum Node {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
}

/// Files by their paths, which begin without a slash. All belong to root, and to no time.
#[derive(Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.insert(path, Node::File { mode, bytes });
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.insert(path, Node::Link(to.to_owned()));
    }

    fn insert(&mut self, path: &str, node: Node) {
        for (slash, _) in path.match_indices('/') {
            self.0.insert(path[..=slash].to_owned(), Node::Folder);
        }
        self.0.insert(path.to_owned(), node);
    }

    pub(crate) fn tar(&self) -> io::Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (path, node) in &self.0 {
            let mut header = Header::new_ustar();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match node {
                Node::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(0o755);
                    builder.append_data(&mut header, path, io::empty())?;
                }
                Node::File { mode, bytes } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, path, bytes.as_slice())?;
                }
                Node::Link(to) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    builder.append_link(&mut header, path, to)?;
                }
            }
        }
        builder.into_inner()
    }
}

pub(crate) fn unpack(tar: &[u8], folder: &Path) -> io::Result<()> {
    tar::Archive::new(tar).unpack(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            tree.file(path, 0o644, path.as_bytes().to_vec());
        }
        tree.link("service", "catalog");
        tree
    }

    #[test]
    fn the_order_in_which_files_are_added_changes_no_byte() {
        let one = tree(&["etc/ssl/b", "catalog", "etc/a"]).tar().unwrap();
        let other = tree(&["etc/a", "etc/ssl/b", "catalog"]).tar().unwrap();
        assert!(one == other, "the same files differ");
        let another = tree(&["etc/a", "etc/ssl/b", "catalogs"]).tar().unwrap();
        assert!(one != another, "other files are the same");
    }

    #[test]
    fn entries_are_sorted_and_belong_to_root_and_to_no_time() {
        let bytes = tree(&["etc/ssl/b", "catalog"]).tar().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let numbers = [header.uid(), header.gid(), header.mtime()].map(Result::unwrap);
                assert_eq!(numbers, [0; 3]);
                let mode = header.mode().unwrap();
                format!("{} {mode:o}", entry.path().unwrap().display())
            })
            .collect();
        assert_eq!(
            entries,
            [
                "catalog 644",
                "etc/ 755",
                "etc/ssl/ 755",
                "etc/ssl/b 644",
                "service 777"
            ]
        );
    }
}
