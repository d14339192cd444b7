//! Events for people: as sentences that name roles, and as a sequence diagram.

use std::collections::BTreeMap;
use std::fmt::Write;

use shardbearer_proto::pb::story_event::Kind;
use shardbearer_proto::pb::{StoryEvent, StoryRadiant};

/// The names of radiants.
#[derive(Default)]
pub struct Names(BTreeMap<u64, String>);

impl Names {
    /// As the cluster tells them.
    pub fn new(radiants: &[StoryRadiant]) -> Names {
        Names(radiants.iter().map(|radiant| (radiant.id, one_line(&radiant.name))).collect())
    }

    /// The name; of a radiant that is not known any more, its number.
    pub fn of(&self, radiant: u64) -> String {
        match radiant {
            0 => "control order".to_owned(),
            id => self.0.get(&id).cloned().unwrap_or_else(|| format!("radiant {id}")),
        }
    }
}

/// An event as a sentence.
pub fn words(event: &StoryEvent, names: &Names) -> String {
    let (me, other) = (names.of(event.radiant), names.of(event.other));
    let StoryEvent { term, epoch, .. } = event;
    let what = one_line(&event.what);
    match event.kind() {
        Kind::Started => format!("{me} serves (version {what})"),
        Kind::Stopping => format!("{me} was told to stop and gives its leads away"),
        Kind::Won => format!("{me} becomes {} (term {term})", role(event.order)),
        Kind::Lost if event.other != 0 => {
            format!("{me} is no longer {} (term {term}): {other} is", role(event.order))
        }
        Kind::Lost => format!("{me} is no longer {} (term {term})", role(event.order)),
        Kind::Epoch if event.what.is_empty() => format!("epoch {epoch} is in force at {me}"),
        Kind::Epoch => {
            format!("epoch {epoch}: {what} ({}: {})", one_line(&event.who), one_line(&event.why))
        }
        Kind::Migration => format!("move {}: {what}", event.migration),
        Kind::Silent => format!("{me} does not hear {other} any more"),
        Kind::Heard => format!("{me} hears {other}"),
        Kind::Trouble => format!("{me}: {what}"),
        Kind::Unspecified => format!("{me} remembers something that this version does not know"),
    }
}

fn role(order: u64) -> String {
    if order == shardbearer_core::ids::OrderId::CONTROL.0 {
        "the scherald".to_owned()
    } else {
        format!("the herald of order {order}")
    }
}

/// The story as a sequence diagram in Mermaid's language. Leads that pass from one radiant to another are arrows, and so
/// is who hears whom; what concerns all is a note over all.
pub fn mermaid(events: &[StoryEvent], radiants: &[StoryRadiant]) -> String {
    let names = Names::new(radiants);
    let mut ids: Vec<u64> = radiants.iter().map(|radiant| radiant.id).collect();
    ids.extend(events.iter().flat_map(|event| [event.radiant, event.other]).filter(|id| *id != 0));
    ids.sort_unstable();
    ids.dedup();
    let mut out = String::from("sequenceDiagram\n");
    // Writing to a string cannot fail.
    for id in &ids {
        let _ = writeln!(out, "    participant R{id} as {}", plain(&names.of(*id)));
    }
    let all = match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if first != last => format!("R{first},R{last}"),
        (Some(only), _) => format!("R{only}"),
        (None, _) => return out,
    };
    let mut heralds: BTreeMap<u64, u64> = BTreeMap::new();
    for event in events {
        let StoryEvent { radiant, other, order, term, .. } = event;
        let text = plain(&words(event, &names));
        let _ = match event.kind() {
            Kind::Won => match heralds.insert(*order, *radiant).filter(|before| before != radiant) {
                Some(before) => {
                    let role = plain(&role(*order));
                    writeln!(out, "    R{before}->>R{radiant}: {role}, term {term}")
                }
                None => writeln!(out, "    Note over R{radiant}: {text}"),
            },
            Kind::Silent if *other != 0 => writeln!(out, "    R{other}--xR{radiant}: not heard any more"),
            Kind::Heard if *other != 0 => writeln!(out, "    R{other}-->>R{radiant}: heard"),
            Kind::Epoch | Kind::Migration => writeln!(out, "    Note over {all}: {text}"),
            _ if *radiant == 0 => writeln!(out, "    Note over {all}: {text}"),
            _ => writeln!(out, "    Note over R{radiant}: {text}"),
        };
    }
    out
}

/// Names and reasons come from people and from files; what they contain must not become lines of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Without what means something to Mermaid.
fn plain(text: &str) -> String {
    one_line(text).chars().map(|c| if matches!(c, ';' | '#' | '<' | '>' | '%') { ' ' } else { c }).collect()
}
