//! From replies to bytes, in RESP2 or RESP3.
//!
//! Small replies are gathered in one buffer; a large value becomes a segment of its own and is sent from
//! where it lies. The writer also knows how to say nothing, for `CLIENT REPLY`.

use bytes::{BufMut, Bytes, BytesMut};

use super::failure::Failure;

/// From this length on a value is sent from where it lies instead of being copied.
const SEGMENT_BYTES_MIN: usize = 16 << 10;

/// Which replies a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// The one that every client speaks at first.
    #[default]
    Resp2,
    /// With maps, sets and a null of its own; chosen by `HELLO 3`.
    Resp3,
}

impl Version {
    /// The number in `HELLO`.
    pub fn number(self) -> i64 {
        match self {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        }
    }
}

/// Gathers the replies of one connection.
#[derive(Debug, Default)]
pub struct Writer {
    version: Version,
    muted: bool,
    sealed: Vec<Bytes>,
    tail: BytesMut,
    length: usize,
}

impl Writer {
    /// The version that replies are written in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// From now on replies are written in this version.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// While muted, replies vanish.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Bytes gathered.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes out what was gathered, in pieces to be sent one after the other.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.length = 0;
        std::mem::take(&mut self.sealed)
    }

    /// `+text`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// `-CODE text`.
    pub fn failure(&mut self, failure: &Failure) {
        // A line end inside would make the client take the rest for another reply.
        let mut text = failure.text().as_bytes().to_vec();
        text.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
        self.line(b'-', &text);
    }

    /// `:number`.
    pub fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// `:number`; what does not fit is cut to the largest that does.
    pub fn count(&mut self, number: u64) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len() as i64);
        self.put(bytes);
        self.put(b"\r\n");
    }

    /// A string of bytes, not copied if it is large.
    pub fn value(&mut self, bytes: &Bytes) {
        if bytes.len() < SEGMENT_BYTES_MIN || self.muted {
            return self.bulk(bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.seal();
        self.length += bytes.len();
        self.sealed.push(bytes.clone());
        self.put(b"\r\n");
    }

    /// A string of bytes or null.
    pub fn optional(&mut self, bytes: Option<&Bytes>) {
        match bytes {
            Some(bytes) => self.value(bytes),
            None => self.null(),
        }
    }

    /// Text for people: verbatim in RESP3.
    pub fn text(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.put(b"txt:");
                self.put(text.as_bytes());
                self.put(b"\r\n");
            }
        }
    }

    /// No value.
    pub fn null(&mut self) {
        match self.version {
            Version::Resp2 => self.put(b"$-1\r\n"),
            Version::Resp3 => self.put(b"_\r\n"),
        }
    }

    /// No array: what `EXEC` answers when a watched key has changed.
    pub fn null_array(&mut self) {
        match self.version {
            Version::Resp2 => self.put(b"*-1\r\n"),
            Version::Resp3 => self.put(b"_\r\n"),
        }
    }

    /// So many replies follow.
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count as i64);
    }

    /// So many pairs of replies follow; in RESP2 a flat array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.array(pairs * 2),
            Version::Resp3 => self.header(b'%', pairs as i64),
        }
    }

    /// So many different replies follow; in RESP2 an array.
    pub fn set(&mut self, count: usize) {
        match self.version {
            Version::Resp2 => self.array(count),
            Version::Resp3 => self.header(b'~', count as i64),
        }
    }

    fn header(&mut self, kind: u8, number: i64) {
        if self.muted {
            return;
        }
        let mut digits = [0; 20];
        let text = decimal(number, &mut digits);
        self.line(kind, text);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.put(&[kind]);
        self.put(text);
        self.put(b"\r\n");
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.muted {
            self.length += bytes.len();
            self.tail.put_slice(bytes);
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.sealed.push(self.tail.split().freeze());
        }
    }
}

/// The number's digits, without a trip through the formatter: every reply has one.
fn decimal(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        from -= 1;
        digits[from] = b'-';
    }
    &digits[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::default();
        writer.set_version(version);
        write(&mut writer);
        let length = writer.len();
        let bytes = writer.take().concat();
        assert_eq!(bytes.len(), length);
        assert!(writer.is_empty());
        String::from_utf8(bytes).expect("text was written")
    }

    #[test]
    fn both_versions_write_what_the_specification_says() {
        let check = |write: fn(&mut Writer), resp2: &str, resp3: &str| {
            assert_eq!(written(Version::Resp2, write), resp2);
            assert_eq!(written(Version::Resp3, write), resp3);
        };
        check(|w| w.ok(), "+OK\r\n", "+OK\r\n");
        check(|w| w.integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n");
        check(|w| w.count(0), ":0\r\n", ":0\r\n");
        check(|w| w.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(|w| w.null(), "$-1\r\n", "_\r\n");
        check(|w| w.null_array(), "*-1\r\n", "_\r\n");
        check(|w| w.map(2), "*4\r\n", "%2\r\n");
        check(|w| w.set(2), "*2\r\n", "~2\r\n");
        check(|w| w.text("hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(
            |w| w.failure(&Failure::from("ERR two\r\nlines")),
            "-ERR two  lines\r\n",
            "-ERR two  lines\r\n",
        );
    }

    #[test]
    fn large_values_are_not_copied_and_stay_in_their_place() {
        let value = Bytes::from(vec![b'x'; SEGMENT_BYTES_MIN]);
        let mut writer = Writer::default();
        writer.ok();
        writer.value(&value);
        writer.ok();
        let pieces = writer.take();
        assert!(pieces.iter().any(|piece| piece.as_ptr() == value.as_ptr()), "the value itself is sent");
        let expect = [b"+OK\r\n$16384\r\n".as_slice(), &value, b"\r\n+OK\r\n"].concat();
        assert_eq!(pieces.concat(), expect);
    }

    #[test]
    fn a_muted_writer_writes_nothing() {
        let mut writer = Writer::default();
        writer.set_muted(true);
        writer.ok();
        writer.value(&Bytes::from(vec![b'x'; SEGMENT_BYTES_MIN]));
        writer.array(3);
        assert!(writer.is_empty() && writer.take().is_empty());
    }
}
