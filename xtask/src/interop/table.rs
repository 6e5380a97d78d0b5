//! The table of `interop/README.md`, read from the page and compared with a run.
//!
//! A cell of the page is `pass` or the name of the method the client does not have; nothing else
//! is accepted, so that "sometimes" cannot be written down.

use super::client::FEATURES;
use super::session::{Cell, Column};

const PASS: &str = "pass";

/// The page's table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    clients: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

/// How many cells agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Features that work.
    pub(super) pass: usize,
    /// Features the client has no method for.
    pub(super) missing: usize,
}

impl Table {
    /// Reads the table whose first heading is `feature`.
    pub(super) fn read(page: &str) -> Result<Table, String> {
        let mut lines = page.lines().skip_while(|line| !line.starts_with("| feature |"));
        let heading = lines.next().ok_or("interop/README.md has no table of features")?;
        let clients: Vec<String> = cells(heading).into_iter().skip(1).collect();
        let rows: Vec<(String, Vec<String>)> = lines
            .skip(1)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let mut cells = cells(line).into_iter();
                (cells.next().unwrap_or_default(), cells.collect())
            })
            .collect();
        let table = Table { clients, rows };
        table.complete().map(|()| table)
    }

    fn complete(&self) -> Result<(), String> {
        let names: Vec<&str> = self.rows.iter().map(|(name, _)| name.as_str()).collect();
        if names != FEATURES {
            return Err(format!("interop/README.md has the rows {names:?}, not {FEATURES:?}"));
        }
        for (feature, cells) in &self.rows {
            let odd = cells.iter().find(|cell| cell.is_empty() || cell.contains(' '));
            if cells.len() != self.clients.len() || odd.is_some() {
                return Err(format!("interop/README.md: row {feature} has an odd cell {odd:?}"));
            }
        }
        Ok(())
    }

    /// Compares a run's column with the page; the error names every cell that differs.
    pub(super) fn compare(&self, column: &Column) -> Result<Count, Vec<String>> {
        let name = column.client.name;
        let Some(place) = self.clients.iter().position(|client| client == name) else {
            return Err(vec![format!("{name}: interop/README.md has no such column")]);
        };
        let mut count = Count::default();
        let mut differ = Vec::new();
        for ((feature, cells), seen) in self.rows.iter().zip(&column.cells) {
            let page = cells.get(place).map_or("", String::as_str);
            let found = match seen {
                Cell::Pass => PASS,
                Cell::Missing(method) => method,
                Cell::Fail(why) => {
                    differ.push(format!("{name}: {feature}: {why}"));
                    continue;
                }
            };
            if page != found {
                differ.push(format!("{name}: {feature}: {found}, the page says {page}"));
            } else if found == PASS {
                count.pass += 1;
            } else {
                count.missing += 1;
            }
        }
        if differ.is_empty() { Ok(count) } else { Err(differ) }
    }
}

/// The texts between the bars of a table's line, without code marks.
fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// The run's table as text, one row a feature.
pub(super) fn draw(columns: &[Column]) -> String {
    let text = |cell: &Cell| match cell {
        Cell::Pass => PASS.to_owned(),
        Cell::Missing(method) => method.clone(),
        Cell::Fail(_) => "FAIL".to_owned(),
    };
    let mut lines = vec![vec!["feature".to_owned()]];
    lines.extend(FEATURES.iter().map(|feature| vec![(*feature).to_owned()]));
    lines.push(vec!["seconds".to_owned()]);
    for column in columns {
        let mut fields = vec![column.client.name.to_owned()];
        fields.extend(column.cells.iter().map(text));
        fields.push(format!("{:.1}", column.took.as_secs_f64()));
        for (line, field) in lines.iter_mut().zip(fields) {
            line.push(field);
        }
    }
    let width = |place: usize| {
        lines.iter().filter_map(|line| line.get(place)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (field, width) in line.iter().zip(&widths) {
            out.push_str(&format!("{field:width$}  "));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::client::CLIENTS;
    use super::*;

    fn page(cell: &str) -> String {
        let mut page = format!("# T\n\n| feature | {} |\n|---|---|\n", CLIENTS[0].name);
        for feature in FEATURES {
            page.push_str(&format!("| {feature} | {cell} |\n"));
        }
        page + "\nwords\n"
    }

    fn column(cell: &Cell) -> Column {
        let cells = vec![cell.clone(); FEATURES.len()];
        Column { client: CLIENTS[0], cells, took: Duration::ZERO }
    }

    #[test]
    fn a_run_that_agrees_with_the_page_is_counted() {
        let table = Table::read(&page("pass")).unwrap();
        let count = table.compare(&column(&Cell::Pass)).unwrap();
        assert_eq!(count, Count { pass: FEATURES.len(), missing: 0 });
        let table = Table::read(&page("`Producer.sendBatch`")).unwrap();
        let missing = Cell::Missing("Producer.sendBatch".into());
        let count = table.compare(&column(&missing)).unwrap();
        assert_eq!(count, Count { pass: 0, missing: FEATURES.len() });
    }

    #[test]
    fn every_difference_is_named() {
        let table = Table::read(&page("pass")).unwrap();
        for cell in [Cell::Fail("why".into()), Cell::Missing("M.n".into())] {
            assert_eq!(table.compare(&column(&cell)).unwrap_err().len(), FEATURES.len());
        }
        let better = Table::read(&page("M.n")).unwrap();
        assert!(better.compare(&column(&Cell::Pass)).is_err());
    }

    #[test]
    fn a_page_with_other_words_in_a_cell_is_refused() {
        assert!(Table::read(&page("pass mostly")).is_err());
        assert!(Table::read(&page("")).is_err());
        assert!(Table::read("# T\n").is_err());
    }
}
