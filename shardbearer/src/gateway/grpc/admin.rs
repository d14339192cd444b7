//! The service `Admin`.

use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::limits;
use shardbearer_proto::pb;
use shardbearer_proto::pb::admin_server::Admin;
use tonic::{Request, Response, Status};

use crate::gateway::{Entrance, NOT_INSIDE, Overview};

pub(super) struct AdminService {
    pub(super) entrance: Entrance,
}

impl AdminService {
    #[allow(clippy::result_large_err)] // a Status is what tonic wants
    fn overview(&self) -> Result<Arc<dyn Overview>, Status> {
        let inside = self.entrance.get().ok_or_else(|| Status::unavailable(NOT_INSIDE))?;
        Ok(inside.overview.clone())
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn map(&self, _: Request<pb::MapRequest>) -> Result<Response<pb::MapResponse>, Status> {
        Ok(Response::new(self.overview()?.map()))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.overview()?.status()))
    }

    async fn r#move(&self, request: Request<pb::MoveRequest>) -> Result<Response<pb::MoveResponse>, Status> {
        answer(self.overview()?.migrate(request.into_inner())).await
    }

    async fn epochs(
        &self,
        request: Request<pb::EpochsRequest>,
    ) -> Result<Response<pb::EpochsResponse>, Status> {
        answer(self.overview()?.epochs_page(request.into_inner())).await
    }

    async fn rebalance(
        &self,
        request: Request<pb::RebalanceRequest>,
    ) -> Result<Response<pb::RebalanceResponse>, Status> {
        let overview = self.overview()?;
        let deadline = Duration::from_millis(limits::REQUEST_MS_DEFAULT);
        match tokio::time::timeout(deadline, overview.rebalance(request.into_inner())).await {
            Ok(Ok(answer)) => Ok(Response::new(answer)),
            Ok(Err(error)) => Err(status_of(&error)),
            Err(_) => Err(Status::deadline_exceeded("the control order did not answer in time")),
        }
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let overview = self.overview()?;
        let deadline = Duration::from_millis(limits::REQUEST_MS_DEFAULT);
        match tokio::time::timeout(deadline, overview.explain(request.into_inner())).await {
            Ok(Ok(answer)) => Ok(Response::new(answer)),
            Ok(Err(error)) => Err(status_of(&error)),
            Err(_) => Err(Status::deadline_exceeded("the control order did not answer in time")),
        }
    }

    async fn member(
        &self,
        request: Request<pb::MemberRequest>,
    ) -> Result<Response<pb::MemberResponse>, Status> {
        answer(self.overview()?.member(request.into_inner())).await
    }

    async fn reset(&self, request: Request<pb::ResetRequest>) -> Result<Response<pb::ResetResponse>, Status> {
        answer(self.overview()?.reset(request.into_inner())).await
    }

    async fn epoch_at(
        &self,
        request: Request<pb::EpochAtRequest>,
    ) -> Result<Response<pb::EpochAtResponse>, Status> {
        answer(self.overview()?.epoch_at(request.into_inner().epoch)).await
    }

    async fn revert(
        &self,
        request: Request<pb::RevertRequest>,
    ) -> Result<Response<pb::RevertResponse>, Status> {
        answer(self.overview()?.revert(request.into_inner())).await
    }

    async fn timeline(
        &self,
        _: Request<pb::TimelineRequest>,
    ) -> Result<Response<pb::TimelineResponse>, Status> {
        answer(self.overview()?.timeline()).await
    }

    async fn digest(
        &self,
        request: Request<pb::DigestRequest>,
    ) -> Result<Response<pb::DigestResponse>, Status> {
        // As long as it takes: it reads all there is. How many there are at a time is limited below.
        let answer = self.overview()?.digest(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status_of(&error))
    }
}

/// What the cluster says, within the time that a request may take.
async fn answer<T>(asked: impl Future<Output = Result<T, RequestError>>) -> Result<Response<T>, Status> {
    let deadline = Duration::from_millis(limits::REQUEST_MS_DEFAULT);
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(answer)) => Ok(Response::new(answer)),
        Ok(Err(error)) => Err(status_of(&error)),
        Err(_) => Err(Status::deadline_exceeded("the control order did not answer in time")),
    }
}

fn status_of(error: &RequestError) -> Status {
    let why = error.to_string();
    match error {
        RequestError::Unknown(_) => Status::deadline_exceeded(why),
        RequestError::Refused(refused) => match refused {
            Refused::Invalid(_) => Status::invalid_argument(why),
            Refused::Busy(_) | Refused::DiskFull(_) => Status::resource_exhausted(why),
            Refused::NotHerald { .. }
            | Refused::WrongOrder { .. }
            | Refused::Unavailable(_)
            | Refused::Closed => Status::unavailable(why),
        },
    }
}
