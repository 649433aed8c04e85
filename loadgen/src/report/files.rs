//! The files that were asked for. Each is written beside its place and then moved there, so that a file that is there is
//! whole, and a full disk is an error rather than half a report.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::report::hlog::Logged;
use crate::report::{Report, csv, hgrm, hlog, html};

/// Where JSON goes to standard output.
const STANDARD_OUTPUT: &str = "-";

/// What to write, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `-` for standard output.
    pub json: Option<PathBuf>,
    pub csv: Option<PathBuf>,
    pub hgrm: Option<PathBuf>,
    pub hlog: Option<PathBuf>,
    pub html: Option<PathBuf>,
}

/// A file that could not be written.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not be written: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

impl Files {
    /// Whether the JSON takes standard output, so that what people read must go to standard error.
    pub fn take_standard_output(&self) -> bool {
        self.json.as_deref().is_some_and(is_standard_output)
    }

    /// Whether the histogram of each interval is needed.
    pub fn need_log(&self) -> bool {
        self.hlog.is_some()
    }

    /// Writes all of them. One that fails does not keep the others from being written.
    ///
    /// # Errors
    /// All that failed.
    pub fn write(&self, report: &Report, log: &[Logged]) -> Result<(), Vec<FileError>> {
        let written = [
            self.json.as_deref().map(|path| put_json(path, report)),
            self.csv.as_deref().map(|path| put(path, |out| csv::write(report, out))),
            self.hgrm.as_deref().map(|path| put(path, |out| hgrm::write(&report.histograms.response, out))),
            self.hlog.as_deref().map(|path| put(path, |out| hlog::write(report, log, out))),
            self.html.as_deref().map(|path| put(path, |out| out.write_all(html::page(report).as_bytes()))),
        ];
        let errors: Vec<FileError> = written.into_iter().flatten().filter_map(Result::err).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn put_json(path: &Path, report: &Report) -> Result<(), FileError> {
    if !is_standard_output(path) {
        return put(path, |out| report.write_json(out));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    report
        .write_json(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| FileError { path: PathBuf::from("standard output"), error })
}

fn is_standard_output(path: &Path) -> bool {
    path == Path::new(STANDARD_OUTPUT)
}

/// Writes one file, all of it or nothing. What is no ordinary file, such as a pipe, is written to as it is.
///
/// # Errors
/// Those of the file system, with the path.
pub fn put(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let result = match fs::metadata(path) {
        Ok(found) if !found.is_file() => fill(File::options().write(true).open(path), write),
        // The file behind a symbolic link is replaced, not the link.
        Ok(_) => fs::canonicalize(path).and_then(|path| replace(&path, write)),
        Err(_) => replace(path, write),
    };
    result.map_err(|error| FileError { path: path.to_owned(), error })
}

fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let beside = beside(path).ok_or_else(|| io::Error::other("this is not the name of a file"))?;
    let result = fill(File::create(&beside), |out| write(out)).and_then(|()| fs::rename(&beside, path));
    if result.is_err() {
        // What could not be written whole is of no use; the first error is the one to tell of.
        let _ = fs::remove_file(&beside);
    }
    result
}

/// Some file systems tell that the disk is full only when the data are on their way to it.
fn fill(file: io::Result<File>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file?);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}

/// A name in the same folder that nobody else uses.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}.part", std::process::id()));
    Some(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;
    use std::os::unix::fs::symlink;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fanfare-files-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).expect("a folder");
            let mut names: Vec<String> = names
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"))
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn all_that_was_asked_for_is_written_and_nothing_else() {
        let folder = Folder::new("all");
        let at = |name: &str| Some(folder.0.join(name));
        let files = Files {
            json: at("a.json"),
            csv: at("a.csv"),
            hgrm: at("a.hgrm"),
            hlog: at("a.hlog"),
            html: at("a.html"),
        };
        files.write(&fixture::report(), &[]).expect("written");
        assert_eq!(folder.names(), ["a.csv", "a.hgrm", "a.hlog", "a.html", "a.json"]);
        let json = fs::read_to_string(folder.0.join("a.json")).expect("JSON");
        serde_json::from_str::<Report>(&json).expect("a report");
        assert!(files.need_log() && !files.take_standard_output());
        let to_output = Files { json: Some(PathBuf::from("-")), ..Files::default() };
        assert!(!to_output.need_log() && to_output.take_standard_output());
    }

    #[test]
    fn each_error_names_its_path_and_the_others_are_written() {
        let folder = Folder::new("errors");
        let files = Files {
            json: Some(folder.0.join("no/such/a.json")),
            csv: Some(folder.0.clone()),
            hgrm: Some(folder.0.join("a.hgrm")),
            ..Files::default()
        };
        let errors = files.write(&fixture::report(), &[]).expect_err("two cannot be written");
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("no/such/a.json could not be written: No such file"), "{errors:?}");
        assert!(errors[1].contains("could not be written: Is a directory"), "{errors:?}");
        assert_eq!(folder.names(), ["a.hgrm"]);
    }

    #[test]
    fn what_fails_half_way_leaves_the_old_file() {
        let folder = Folder::new("half");
        let path = folder.0.join("report");
        fs::write(&path, "old").expect("written");
        let error = put(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(error.expect_err("the disk is full").to_string().contains("report could not be written"));
        assert_eq!(
            (fs::read_to_string(&path).expect("there"), folder.names()),
            ("old".to_owned(), vec!["report".to_owned()])
        );
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let error = put(Path::new("/dev/full"), |out| out.write_all(b"x")).expect_err("full");
        assert_eq!(error.error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn links_stay_links() {
        let folder = Folder::new("links");
        fs::write(folder.0.join("file"), "old").expect("written");
        symlink("file", folder.0.join("link")).expect("linked");
        put(&folder.0.join("link"), |out| out.write_all(b"new")).expect("written");
        assert_eq!(fs::read_to_string(folder.0.join("file")).expect("there"), "new");
        assert!(folder.0.join("link").is_symlink());
        assert_eq!(folder.names(), ["file", "link"]);
    }
}
