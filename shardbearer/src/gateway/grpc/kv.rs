//! The service `Kv`.

use std::pin::Pin;
use std::sync::Arc;

use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_server::Kv;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::stream::Exchange;
use super::translate::understand;
use crate::gateway::{Entrance, NOT_INSIDE};
use crate::kv;
use crate::telemetry::meter::Meter;

pub(super) struct KvService {
    pub(super) entrance: Entrance,
    pub(super) meter: Arc<Meter>,
    pub(super) closing: CancellationToken,
}

impl KvService {
    #[allow(clippy::result_large_err)] // a Status is what tonic wants
    fn door(&self) -> Result<Arc<dyn kv::Door>, Status> {
        let inside = self.entrance.get().ok_or_else(|| Status::unavailable(NOT_INSIDE))?;
        Ok(inside.door.clone())
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<pb::ExecuteResponse, Status>> + Send>>;

    async fn execute(
        &self,
        request: Request<pb::ExecuteRequest>,
    ) -> Result<Response<pb::ExecuteResponse>, Status> {
        let door = self.door()?;
        let asked = match understand(request.into_inner()) {
            Ok(asked) => asked,
            Err(answer) => return Ok(Response::new(answer)),
        };
        let (table, deadline) = (asked.table.clone(), asked.deadline);
        let (calls, slots) = asked.split();
        let results = if calls.is_empty() {
            Vec::new()
        } else {
            self.meter.execute(door.as_ref(), kv::Request { table, calls, deadline }).await
        };
        Ok(Response::new(slots.fill(&mut results.into_iter())))
    }

    async fn stream(
        &self,
        request: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let door = self.door()?;
        let exchange = Exchange::new(request.into_inner(), door, self.meter.clone(), self.closing.clone());
        Ok(Response::new(Box::pin(exchange)))
    }
}
