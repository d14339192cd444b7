//! How a cluster forms.
