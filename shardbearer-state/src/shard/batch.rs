//! Several commands in one step, none seen half done.

use shardbearer_core::kv::{Command, Reply};
use shardbearer_core::limits;

use super::apply::{Scope, malformed, too_large};

impl Scope<'_, '_> {
    /// A failed check undoes everything, and so do answers that are too long together; with `all_or_nothing`, so does
    /// any refusal or failed condition.
    pub(super) fn batch(&mut self, commands: Vec<Command>, all_or_nothing: bool) -> Reply {
        let fit = |command: &Command| command.key().is_some() && !matches!(command, Command::Batch { .. });
        if !commands.iter().all(fit) {
            return malformed("a batch holds only commands on single keys");
        }
        let before = self.meta.clone();
        self.work.begin();
        let mut replies = Vec::with_capacity(commands.len());
        let (mut failed, mut bytes) = (false, 0);
        for command in commands {
            let guard = matches!(command, Command::Check { .. });
            let reply = self.command(command);
            if guard && matches!(reply, Reply::ConditionFailed { .. }) {
                self.undo(before);
                return reply;
            }
            bytes += reply.weight();
            if bytes > limits::REPLY_BYTES_MAX {
                self.undo(before);
                return too_large(limits::REPLY_BYTES_MAX);
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
