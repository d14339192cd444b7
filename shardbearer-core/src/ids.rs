//! Identities. A newtype for each kind of thing, so that an order can never be passed for a shard.
//! Zero means "none" for every kind and never names a thing.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The id that names nothing.
            pub const NONE: Self = Self(0);

            /// Whether this is [`Self::NONE`].
            pub fn is_none(self) -> bool {
                self.0 == 0
            }
        }
    };
}

macro_rules! decimal {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
        impl From<u64> for $name {
            fn from(raw: u64) -> Self {
                Self(raw)
            }
        }
    )*};
}

macro_rules! hexadecimal {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }
        impl $name {
            /// Big-endian bytes, as stored and sent.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The inverse of [`Self::to_bytes`]; `None` unless there are exactly 16 bytes.
            pub fn from_bytes(raw: &[u8]) -> Option<Self> {
                Some(Self(u128::from_be_bytes(raw.try_into().ok()?)))
            }
        }
    )*};
}

id!(
    /// A node: one process with one data directory.
    RadiantId(u64)
);
id!(
    /// A replica group.
    OrderId(u64)
);
id!(
    /// A slice of one table's keys. Unique in the cluster, never reused.
    ShardId(u64)
);
id!(
    /// A named key space.
    TableId(u64)
);
id!(
    /// The number of a cluster configuration. It only grows; 0 is the empty configuration.
    Epoch(u64)
);
id!(
    /// A cluster, drawn at random when it is founded.
    ClusterId(u128)
);
id!(
    /// A client's session, drawn at random by the client.
    SessionId(u128)
);
id!(
    /// One data directory's lifetime, drawn at random when the directory is first used.
    Incarnation(u128)
);

decimal!(RadiantId OrderId ShardId TableId Epoch);
hexadecimal!(ClusterId SessionId Incarnation);

impl OrderId {
    /// The order that replicates the cluster's configuration and serves no data.
    pub const CONTROL: OrderId = OrderId(1);

    /// Whether this is the control order.
    pub fn is_control(self) -> bool {
        self == Self::CONTROL
    }
}

impl TableId {
    /// The table that exists from the founding on.
    pub const DEFAULT: TableId = TableId(1);
}
