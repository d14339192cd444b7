//! Several commands in one step, none seen half done.

use shardbearer_core::kv::{Command, Reply};

use super::apply::{Scope, malformed};

impl Scope<'_, '_> {
    /// A failed check undoes everything; with `all_or_nothing`, so does any refusal or failed condition.
    pub(super) fn batch(&mut self, commands: Vec<Command>, all_or_nothing: bool) -> Reply {
        let fit = |command: &Command| command.key().is_some() && !matches!(command, Command::Batch { .. });
        if !commands.iter().all(fit) {
            return malformed("a batch holds only commands on single keys");
        }
        let before = *self.meta;
        self.work.begin();
        let mut replies = Vec::with_capacity(commands.len());
        let mut failed = false;
        for command in commands {
            let guard = matches!(command, Command::Check { .. });
            let reply = self.command(command);
            if guard && matches!(reply, Reply::ConditionFailed { .. }) {
                self.undo(before);
                return reply;
            }
            failed |= matches!(reply, Reply::ConditionFailed { .. } | Reply::Refused(_));
            replies.push(reply);
        }
        let applied = !(failed && all_or_nothing);
        if applied {
            self.work.keep();
        } else {
            self.undo(before);
        }
        Reply::Batch { applied, replies }
    }

    fn undo(&mut self, before: crate::keys::ShardMeta) {
        self.work.rollback();
        *self.meta = before;
    }
}
