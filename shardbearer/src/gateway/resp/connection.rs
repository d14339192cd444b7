//! One connection: reads what has arrived, carries it out in as few steps as its order allows, writes the replies.
//!
//! Commands on keys that follow each other are gathered and handed to the door as one request; whatever needs
//! or changes the connection's state first waits for what was gathered. Nothing is read while a request is under
//! way or while replies are being sent, so a client that sends faster than it reads fills its own socket.

use std::io;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::commands::{self, Control, Run, Spec, Translate};
use super::failure::Failure;
use super::frame::{Frame, Parser};
use super::pipeline::Pipeline;
use super::plan::Plan;
use super::reply::{Version, Writer};
use super::session::{Replies, Session};
use super::transaction::Transaction;
use super::{cluster, whole};

/// Room for reading: what a pipeline of small commands fills at once.
const READ_BYTES: usize = 16 << 10;

/// From so many bytes on replies are sent before more is carried out.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// So many bytes of one command are progress: a large value may come over a slow line.
const PROGRESS_BYTES: usize = 64 << 10;

/// One client's connection.
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    parser: Parser,
    writer: Writer,
    session: Session,
    transaction: Transaction,
    pipeline: Pipeline,
    closing: bool,
    /// Whether the client was told that the radiant stops.
    leaving: bool,
    /// By when what is arriving must have made progress, and how much has arrived since that was set.
    late: Option<(Instant, usize)>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(stream: TcpStream, session: Session) -> Connection {
        Connection {
            stream,
            buffer: BytesMut::with_capacity(READ_BYTES),
            parser: Parser::new(session.gateway.options.command_bytes_max),
            writer: Writer::default(),
            session,
            transaction: Transaction::default(),
            pipeline: Pipeline::default(),
            closing: false,
            leaving: false,
            late: None,
        }
    }

    /// Serves the client until it leaves, is sent away or breaks the protocol.
    pub async fn run(mut self) -> io::Result<()> {
        while !self.closing {
            self.make_room();
            if self.read().await? == 0 {
                return Ok(());
            }
            self.session.client.busy.store(true, Ordering::Relaxed);
            self.serve_buffer().await?;
            self.send().await?;
            self.session.client.busy.store(false, Ordering::Relaxed);
        }
        self.stream.shutdown().await?;
        // What the client is still sending must not make its system throw the last replies away. The door ends this.
        while self.leaving && self.stream.read(&mut [0; 1 << 10]).await? > 0 {}
        Ok(())
    }

    /// Reads what has arrived. Who begins a command has to go on with it: one byte now and then would keep the place
    /// of a client for ever.
    async fn read(&mut self) -> io::Result<usize> {
        if !self.parser.is_amid(&self.buffer) {
            self.late = None;
            return self.stream.read_buf(&mut self.buffer).await;
        }
        let patience = self.session.gateway.options.patience;
        let (late, arrived) = self.late.get_or_insert_with(|| (Instant::now() + patience, 0));
        let read = timeout_at(*late, self.stream.read_buf(&mut self.buffer)).await??;
        *arrived += read;
        if *arrived >= PROGRESS_BYTES {
            self.late = None;
        }
        Ok(read)
    }

    /// Keeps filling the present buffer while there is room: arguments of earlier commands may still lie in it, and
    /// then more room is a new buffer. A client that announces much gets no more than it sends.
    fn make_room(&mut self) {
        let wanted = self.parser.wanted(&self.buffer).clamp(READ_BYTES / 4, READ_BYTES * 4);
        if self.buffer.capacity() - self.buffer.len() < wanted {
            self.buffer.reserve(wanted.max(READ_BYTES));
        }
    }

    /// Carries out every complete command in the buffer.
    async fn serve_buffer(&mut self) -> io::Result<()> {
        let mut count = 0;
        let mut last = "";
        while !self.closing {
            match self.parser.next(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    count += 1;
                    last = self.frame(frame).await.unwrap_or(last);
                }
                Err(error) => {
                    self.hand_in().await;
                    self.writer.failure(&format!("ERR Protocol error: {}", error.0).into());
                    self.closing = true;
                }
            }
            if self.writer.len() > REPLY_BYTES_MAX {
                self.send().await?;
            }
        }
        self.hand_in().await;
        self.closing |= self.leaving && !self.parser.is_amid(&self.buffer);
        if count > 0 {
            self.session.gateway.count_commands(count);
            self.session.client.touch(last, self.session.gateway.now_ms());
        }
        Ok(())
    }

    /// Returns the command's name, if it was one.
    async fn frame(&mut self, frame: Frame) -> Option<&'static str> {
        if self.session.replies == Replies::On {
            return self.command(frame).await;
        }
        // Without replies every command is carried out on its own.
        self.hand_in().await;
        if self.session.replies == Replies::SkipNext {
            self.session.replies = Replies::On;
        }
        self.writer.set_muted(true);
        let name = self.command(frame).await;
        self.hand_in().await;
        self.writer.set_muted(false);
        name
    }

    async fn command(&mut self, frame: Frame) -> Option<&'static str> {
        let words = match frame {
            Frame::Command(words) => words,
            Frame::TooLarge { bytes } => {
                let most = self.session.gateway.options.command_bytes_max;
                self.refuse(format!("ERR the command has {bytes} bytes; at most {most} are allowed").into());
                return None;
            }
        };
        if self.session.gateway.closing.load(Ordering::Relaxed) {
            self.refuse(Failure::STOPPING);
            self.leaving = true;
            return None;
        }
        let found = words.first().and_then(|name| commands::find(name));
        let Some(spec) = found else {
            self.refuse(commands::unknown(&words));
            return None;
        };
        if !spec.takes(words.len()) {
            self.refuse(Failure::arity(spec.name));
            return Some(spec.name);
        }
        match spec.run {
            // There is nothing to unwatch after EXEC, but it has its place in the answer.
            Run::Control(Control::Unwatch) if self.transaction.is_open() => self.queue(spec, words),
            Run::Control(control) => {
                self.hand_in().await;
                self.control(control, &words).await;
            }
            Run::Data(_) | Run::Local(_) | Run::Whole(_) if self.transaction.is_open() => {
                self.queue(spec, words);
            }
            Run::Data(translate) => self.data(spec, translate, &words).await,
            Run::Local(run) => {
                self.hand_in().await;
                run(&mut self.session, &words, &mut self.writer);
            }
            Run::Whole(kind) => {
                self.hand_in().await;
                whole::run(kind, &mut self.session, &words, &mut self.writer).await;
            }
        }
        Some(spec.name)
    }

    /// A command that cannot be carried out: its error takes its place among the replies.
    fn refuse(&mut self, failure: Failure) {
        self.transaction.spoil();
        self.pipeline.fail(failure);
    }

    async fn data(&mut self, spec: &Spec, translate: Translate, words: &[Bytes]) {
        match self.translate(spec, translate, words) {
            Ok(plan) => {
                if !self.pipeline.has_room_for(&plan) {
                    self.hand_in().await;
                }
                self.pipeline.add(plan);
            }
            Err(failure) => self.pipeline.fail(failure),
        }
    }

    fn translate(&self, spec: &Spec, translate: Translate, words: &[Bytes]) -> Result<Plan, Failure> {
        let inside = self.session.gateway.inside()?;
        let plan = translate(words, self.session.gateway.world.wall_ms())?;
        if self.session.aware && !(self.session.read_anywhere && spec.is_read()) {
            cluster::moved(&self.session, inside, &plan).map_or(Ok(plan), Err)
        } else {
            Ok(plan)
        }
    }

    fn queue(&mut self, spec: &'static Spec, words: Vec<Bytes>) {
        // What MOVED or LOADING would stop at once must not wait for EXEC; other errors do.
        let stopped = match spec.run {
            Run::Data(translate) => match self.translate(spec, translate, &words) {
                Err(failure) if failure == Failure::LOADING || failure.text().starts_with("MOVED ") => {
                    Some(failure)
                }
                Err(_) | Ok(_) => None,
            },
            Run::Local(_) | Run::Whole(_) | Run::Control(_) => None,
        };
        match stopped.map_or_else(|| self.transaction.queue(spec, words), Err) {
            Ok(()) => self.writer.simple("QUEUED"),
            Err(failure) => {
                self.transaction.spoil();
                self.writer.failure(&failure);
            }
        }
    }

    async fn control(&mut self, control: Control, words: &[Bytes]) {
        let done = match control {
            Control::Multi => self.transaction.begin(),
            Control::Discard => self.transaction.discard(),
            Control::Watch => self.transaction.watch(&self.session, &words[1..]).await,
            Control::Unwatch => {
                self.transaction.unwatch();
                Ok(())
            }
            Control::Exec => return self.transaction.execute(&mut self.session, &mut self.writer).await,
            Control::Reset => {
                self.transaction = Transaction::default();
                self.session.reset();
                self.writer.set_version(Version::Resp2);
                self.writer.set_muted(false);
                return self.writer.simple("RESET");
            }
            Control::Quit => {
                self.closing = true;
                Ok(())
            }
        };
        match done {
            Ok(()) => self.writer.ok(),
            Err(failure) => self.writer.failure(&failure),
        }
    }

    /// Carries out what was gathered.
    async fn hand_in(&mut self) {
        self.pipeline.hand_in(&self.session.gateway, &mut self.writer).await;
    }

    async fn send(&mut self) -> io::Result<()> {
        let patience = self.session.gateway.options.patience;
        for mut piece in self.writer.take() {
            while !piece.is_empty() {
                let written = timeout(patience, self.stream.write(&piece)).await??;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                piece.advance(written);
            }
        }
        Ok(())
    }
}
