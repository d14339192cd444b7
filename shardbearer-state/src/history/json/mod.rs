//! Histories as lines of JSON, one operation a line; docs/history.md is the manual. Reading names the line and the field
//! that is wrong, and refuses fields it does not know and fields that come twice: a misspelt `"revison"` would otherwise check
//! nothing, and of two values only one would count.

mod fields;
mod once;
mod read;
mod write;

pub use self::read::{BrokenLine, parse, parse_line};
pub use self::write::line;
