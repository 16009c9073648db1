//! Folders as receive locations and as targets of send ports.

use orderly_rules::yaml::{Node, Spanned};

use super::sheet::{CODES, Object, Sheet};
use crate::configuration::{AfterFile, FileOrder, FileWrite, FolderReceive, FolderSend, NAME_HOLES};

/// Largest file that a folder may take.
const FILE_BYTES_MAX: usize = 256 << 20;

pub(super) fn receive(sheet: &Sheet, body: &Node) -> Option<FolderReceive> {
    let object = sheet.object(body, "`folder`")?;
    let mut folder = FolderReceive::new(path(&object)?);
    object.set_text("mask", &mut folder.mask);
    object.set_duration("every", &mut folder.every);
    object.set_duration("stable_for", &mut folder.stable_for);
    object.set_choice("order", &[("name", FileOrder::Name), ("time", FileOrder::Time)], &mut folder.order);
    if let Some(after) = object.get("after").and_then(|node| after(sheet, node)) {
        folder.after = after;
    }
    object.set_number("at_once", 1, 64, &mut folder.at_once);
    let mut bytes_max = FILE_BYTES_MAX;
    object.set_size("largest", FILE_BYTES_MAX, &mut bytes_max);
    folder.bytes_max = bytes_max as u64;
    object.refuse(&["subfolders"]);
    object.finish();
    Some(folder)
}

pub(super) fn send(sheet: &Sheet, body: &Node) -> Option<FolderSend> {
    let object = sheet.object(body, "`folder`")?;
    let mut folder = FolderSend::new(path(&object)?);
    if let Some(name) = object.text("name") {
        check_name(sheet, &name);
        folder.name = name.value;
    }
    let words =
        [("create", FileWrite::Create), ("replace", FileWrite::Replace), ("append", FileWrite::Append)];
    object.set_choice("write", &words, &mut folder.write);
    if let Some(temporary) = object.text("temporary") {
        if temporary.value.is_empty() || temporary.value.contains(['/', '\\']) {
            sheet.error("S001", temporary.span, "`temporary` is the end of a file name, such as .part");
        }
        folder.temporary = temporary.value;
    }
    object.finish();
    Some(folder)
}

fn path(object: &Object<'_, '_>) -> Option<String> {
    let path = object.require_text("path")?;
    if path.value.trim().is_empty() || path.value.contains('\0') {
        object.sheet.error(
            "S001",
            path.span,
            "`path` names a folder, absolute or relative to the data folder",
        );
        return None;
    }
    Some(path.value)
}

fn after(sheet: &Sheet, node: &Node) -> Option<AfterFile> {
    if let Some(word) = node.as_text() {
        match word {
            "delete" => return Some(AfterFile::Delete),
            "leave" => sheet.error(CODES.unsupported, node.span, "`leave` is not supported yet"),
            _ => sheet.error_help(
                "S003",
                node.span,
                format!("unknown word `{word}`"),
                Some("write { move: FOLDER } or delete".to_owned()),
            ),
        }
        return None;
    }
    let object = sheet.object(node, "`after`")?;
    let to = object.require_text("move")?;
    object.finish();
    Some(AfterFile::Move(Some(to.value)))
}

/// Every hole must be known; a path escape is cut when the name is made.
fn check_name(sheet: &Sheet, name: &Spanned<String>) {
    let mut rest = name.value.as_str();
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            sheet.error("S001", name.span, "a `{` in the name is not closed");
            return;
        };
        let hole = &rest[open + 1..open + close];
        if !NAME_HOLES.contains(&hole) {
            let help = Some(format!("one of: {}", NAME_HOLES.join(", ")));
            sheet.error_help("S002", name.span, format!("unknown hole `{hole}`"), help);
        }
        rest = &rest[open + close + 1..];
    }
    if name.value.contains(['/', '\\']) {
        sheet.error("S001", name.span, "a file's name has no folders in it; they belong into `path`");
    }
}
