//! Aligned columns without a frame.
//!
//! A row is always one line: what is too long for the terminal is wrapped by the terminal, and a
//! script that cuts columns out of a pipe finds them where the header says.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::printable;

/// The header and the rows as lines; numbers and whatever else `right` names are set to the right.
pub(super) fn columns(header: &[&str], right: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_style(comfy_table::TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if header.get(index).is_some_and(|name| right.contains(name)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// [`columns`] as text.
pub(super) fn table(header: &[&str], right: &[&str], rows: Vec<Vec<String>>) -> String {
    columns(header, right, rows)
        .into_iter()
        .map(|line| line + "\n")
        .collect()
}
