//! The layer of the TOML file: a flat table of the settings' keys.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Workload;

impl Workload {
    /// Lays a file over what is known. What it names is looked for beside it.
    ///
    /// # Errors
    /// In a sentence that says where in the file.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), String> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!(
                "the workload {place}: {error}; it is no ready one either (`fanfare-loadgen workloads` lists them)"
            )
        })?;
        let records = self.records.take();
        self.read_text(&text, &place.to_string())?;
        let beside =
            |records: &Path| path.parent().map_or_else(|| records.to_owned(), |folder| folder.join(records));
        self.records = self.records.as_deref().map(beside).or(records);
        Ok(())
    }

    /// Lays TOML over what is known. `name` is what errors and reports call it.
    pub(super) fn read_text(&mut self, text: &str, name: &str) -> Result<(), String> {
        let place = |at: usize| format!("{name}, line {}", line_of(text, at));
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("{}: {}", place(at), error.message())
        })?;
        let keys = super::keys();
        for (key, value) in table.get_ref() {
            let place = place(key.span().start);
            let key = key.get_ref().as_ref();
            if !keys.iter().any(|known| known == key) {
                return Err(format!(
                    "{place}: there is no setting {key}; the keys are the flags of `fanfare-loadgen run`, with _ for -"
                ));
            }
            let refused = |why| format!("{place}, key {key}: {why}");
            let values = values(key, value.get_ref()).map_err(refused)?;
            // An empty list would leave the layer below.
            if values.is_empty() {
                return Err(refused("the list is empty; leave the key out instead".to_owned()));
            }
            self.set(key, &values).map_err(refused)?;
        }
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        self.name = Some(stem.into_owned());
        Ok(())
    }
}

/// The values of a key, each as it would stand behind its flag.
fn values(key: &str, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| scalar(value.get_ref())).collect(),
        // `set.token = "x"` reads better than a list of texts with an equals sign.
        DeValue::Table(table) if key == "set" => table
            .iter()
            .map(|(name, value)| Ok(format!("{}={}", name.get_ref(), scalar(value.get_ref())?)))
            .collect(),
        value => scalar(value).map(|value| vec![value]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "this number is too large".to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err("expected a text, a number, true or false".to_owned())
        }
    }
}

/// The number of the line in which byte `at` stands.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place() {
        for (text, expected) in [
            ("\nratee = 1", "chat.toml, line 2: there is no setting ratee"),
            ("connect-rate = 1", "chat.toml, line 1: there is no setting connect-rate"),
            ("[readers]\nslow = 1", "chat.toml, line 1: there is no setting readers"),
            ("workload = 'x'", "chat.toml, line 1: there is no setting workload"),
            (
                "# a\n\nrate = 'x'",
                "chat.toml, line 3, key rate: invalid value 'x' for '--rate <N>': must be a number",
            ),
            (
                "size = 12",
                "chat.toml, line 1, key size: invalid value '12' for '--size <SIZE>': a size must be at",
            ),
            (
                "duration = 30",
                "chat.toml, line 1, key duration: invalid value '30' for '--duration <TIME>': time unit",
            ),
            ("text = 'maybe'", "chat.toml, line 1, key text: invalid value 'maybe' for '--text[=<BOOL>]'"),
            (
                "rate = [1, 2]",
                "chat.toml, line 1, key rate: the argument '--rate <N>' cannot be used multiple times",
            ),
            ("rate = { a = 1 }", "chat.toml, line 1, key rate: expected a text, a number, true or false"),
            ("rate = 2020-01-01", "chat.toml, line 1, key rate: expected a text, a number, true or false"),
            ("cores = []", "chat.toml, line 1, key cores: the list is empty"),
            ("rate = 1\nrate = 2", "chat.toml, line 2: duplicate key"),
            ("rate = ", "chat.toml, line 1: "),
        ] {
            let error = Workload::defaults().read_text(text, "chat.toml").expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
