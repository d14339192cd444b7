//! Every limit of the data path, with its reason. Configuration may change some of them.

/// Longest key in bytes. etcd and Redis allow more; nobody sane uses more, and indexes stay small.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// Longest value in bytes by default. Larger values make replication frames and fsyncs stall others.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Longest value that may be configured, and the length to which appends and overwrites may grow one. A constant,
/// because replicas must agree on it.
pub const GROWN_VALUE_BYTES_MAX: usize = 8 << 20;

/// Commands in one atomic batch. Bounds how long applying one entry may take.
pub const BATCH_COMMANDS_MAX: usize = 10_000;

/// Bytes of items gathered into one proposal. About the size at which one fsync is amortised.
pub const PROPOSAL_BYTES_MAX: usize = 2 << 20;

/// Items gathered into one proposal.
pub const PROPOSAL_ITEMS_MAX: usize = 4_096;

/// Items that may wait for an order before it says that it is busy.
pub const ORDER_QUEUE_ITEMS_MAX: usize = 65_536;

/// Bytes of items that may wait for an order before it says that it is busy.
pub const ORDER_QUEUE_BYTES_MAX: usize = 256 << 20;

/// Rows in one page of a scan.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// Bytes of keys and values in one page of a scan.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of remembered replies per shard; older sessions are forgotten first.
pub const SESSION_BYTES_MAX: usize = 4 << 20;

/// Longest gRPC message in bytes: the largest batch plus its framing.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Longest entry of an order's log in bytes: it travels to the other members in one message, whose framing
/// has to fit too.
pub const ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 8 * 7;

/// Bytes of values in the answer to one batch; a batch that asks for more is refused as a whole. Fits a message. A
/// constant, because replicas must agree on it.
pub const REPLY_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 8 * 7;

/// Bytes of values in the answers to one entry, or to one request that reads, after which commands that could be
/// answered at length are refused: the same large value may be asked for thousands of times in a few bytes, and
/// every replica makes the answers. A constant, because replicas must agree on it.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// How long a request without a deadline of its own may take, in milliseconds.
pub const REQUEST_MS_DEFAULT: u64 = 10_000;

/// Longest deadline a client may ask for, in milliseconds.
pub const REQUEST_MS_MAX: u64 = 60_000;

/// Frames that may wait for one peer; more are dropped, and protocols repeat what matters.
pub const PEER_QUEUE_FRAMES_MAX: usize = 16_384;

/// Radiants and addresses that bootstrap keeps track of; enough for any founding, and a babbling
/// neighbour cannot fill the memory.
pub const BOOTSTRAP_PEERS_MAX: usize = 256;

/// Longest name or address in a bootstrap message, in bytes. A DNS name has at most 253.
pub const BOOTSTRAP_TEXT_BYTES_MAX: usize = 300;

/// Highest term of a founding attempt that is believed. One attempt a millisecond takes millennia
/// to get there, so a higher one is damage, and would leave no terms above it.
pub const BOOTSTRAP_TERM_MAX: u64 = 1 << 48;
