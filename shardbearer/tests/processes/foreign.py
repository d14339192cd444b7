"""What stock clients of other languages do with a cluster: redis-py in both protocols, plain and cluster-aware, and gRPC
with code generated from proto/. Called by foreign.rs:

    foreign.py redis PROTOCOL RESP...      foreign.py cluster PROTOCOL RESP...      foreign.py grpc FOLDER GRPC...
    foreign.py through PROTOCOL RESP...    (until its standard input ends)

Fails with a traceback.
"""

import secrets
import sys
import threading
import time


def host_and_port(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def commands(client, prefix):
    """What any client may do, whether it knows the cluster or not. Keys in braces live together."""
    key = lambda name: f"{prefix}:{{{prefix}}}:{name}"
    assert client.set(key("a"), "1") is True
    assert client.get(key("a")) == "1"
    assert client.get(key("absent")) is None
    assert client.set(key("a"), "2", nx=True) is None
    assert client.set(key("a"), "2", xx=True, get=True) == "1"
    assert client.incr(key("count")) == 1
    assert client.incrby(key("count"), 41) == 42
    assert client.decr(key("count")) == 41
    assert client.append(key("a"), "2") == 2
    assert client.mset({key("b"): "x", key("c"): "y"}) is True
    assert client.mget(key("b"), key("absent"), key("c")) == ["x", None, "y"]
    assert client.exists(key("a"), key("b"), key("absent")) == 2
    assert client.delete(key("b"), key("absent")) == 1

    assert client.ttl(key("a")) == -1 and client.ttl(key("absent")) == -2
    assert client.set(key("brief"), "x", px=150) is True
    assert client.expire(key("a"), 100) == 1 and 90 < client.ttl(key("a")) <= 100
    assert client.persist(key("a")) == 1 and client.ttl(key("a")) == -1
    deadline = time.monotonic() + 10
    while client.get(key("brief")) is not None:
        assert time.monotonic() < deadline, "a key outlives its time"
        time.sleep(0.01)

    import redis

    try:
        client.set(key("text"), "x")
        client.incr(key("text"))
        raise AssertionError("text is no number")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error


def pipelines(client, prefix):
    pipeline = client.pipeline(transaction=False)
    for number in range(1_000):
        pipeline.set(f"{prefix}:{number}", number)
    assert pipeline.execute() == [True] * 1_000
    for number in range(1_000):
        pipeline.get(f"{prefix}:{number}")
    assert pipeline.execute() == [str(number) for number in range(1_000)]


def transactions(client, prefix):
    import redis

    with client.pipeline(transaction=True) as transaction:
        transaction.incr(f"{{{prefix}}}tx").incr(f"{{{prefix}}}tx").get(f"{{{prefix}}}tx")
        assert transaction.execute() == [1, 2, "2"]
    with client.pipeline(transaction=True) as transaction:
        transaction.watch(f"{{{prefix}}}tx")
        client.set(f"{{{prefix}}}tx", "changed")
        transaction.multi()
        transaction.set(f"{{{prefix}}}tx", "lost")
        try:
            transaction.execute()
            raise AssertionError("somebody else was faster")
        except redis.WatchError:
            pass
    assert client.get(f"{{{prefix}}}tx") == "changed"


def plain(protocol, doors):
    import redis

    for door in doors:
        host, port = host_and_port(door)
        client = redis.Redis(host, port, protocol=protocol, decode_responses=True)
        assert client.ping() is True
        prefix = f"plain{protocol}-{port}"
        commands(client, prefix)
        pipelines(client, prefix)
        transactions(client, prefix)
        found = set(client.scan_iter(match=f"{prefix}:[0-9]*", count=100))
        assert found == {f"{prefix}:{number}" for number in range(1_000)}, len(found)


def cluster(protocol, doors):
    import redis
    from redis.cluster import ClusterNode, RedisCluster

    host, port = host_and_port(doors[0])
    startup = [ClusterNode(host, port)]
    # On a busy machine a herald may be elected anew; it gives the lead back after a few seconds.
    deadline = time.monotonic() + 30
    while True:
        client = RedisCluster(startup_nodes=startup, protocol=protocol, decode_responses=True)
        masters = {node.port for node in client.get_primaries()}
        if masters == {host_and_port(door)[1] for door in doors}:
            break
        client.close()
        assert time.monotonic() < deadline, f"each radiant should lead some slots, only {masters} do"
        time.sleep(0.1)
    prefix = f"cluster{protocol}"
    commands(client, prefix)
    pipelines(client, prefix)
    found = set(client.scan_iter(match=f"{prefix}:[0-9]*", count=100))
    assert found == {f"{prefix}:{number}" for number in range(1_000)}, len(found)

    # Who has asked for the map is sent to the one radiant that leads the key; who has not is served anywhere.
    answers = []
    for door in doors:
        host, port = host_and_port(door)
        client = redis.Redis(host, port, protocol=protocol, decode_responses=True, single_connection_client=True)
        assert client.get(f"{prefix}:7") == "7"
        client.execute_command("CLUSTER SLOTS")
        try:
            answers.append((port, port, client.get(f"{prefix}:7")))
        except redis.exceptions.MovedError as moved:
            answers.append((port, moved.port, None))
    heralds = {herald for _, herald, _ in answers}
    assert len(heralds) == 1, answers
    assert [value for port, herald, value in answers if port == herald] == ["7"], answers


def through(protocol, doors):
    """Writes and reads all the while, whatever happens to the cluster, with the settings that redis-py comes with: no
    exception comes up here, and in the end everything is there that was acknowledged."""
    from redis.cluster import ClusterNode, RedisCluster

    startup = [ClusterNode(*host_and_port(door)) for door in doors]
    client = RedisCluster(startup_nodes=startup, protocol=protocol, decode_responses=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    written, longest = {}, 0.0
    count = 0
    while not ended.is_set():
        count += 1
        key, value = f"through{protocol}-{count % 200}", str(count)
        began = time.monotonic()
        assert client.set(key, value) is True
        written[key] = value
        assert client.get(key) == value, key
        longest = max(longest, time.monotonic() - began)
        if count == 50:
            print("begun", flush=True)
    for key, value in written.items():
        assert client.get(key) == value, f"{key} is {client.get(key)}, and was acknowledged as {value}"
    print(f"redis-py, protocol {protocol}: {count} writes and reads, the longest pair {longest:.2f} s")


def grpc(folder, doors):
    sys.path.insert(0, folder)
    import grpc
    from shardbearer.v1 import admin_pb2, admin_pb2_grpc, kv_pb2, kv_pb2_grpc, types_pb2

    channels = [grpc.insecure_channel(door) for door in doors]
    for number, channel in enumerate(channels):
        kv = kv_pb2_grpc.KvStub(channel)

        def execute(*calls):
            calls = [call if isinstance(call, kv_pb2.Call) else kv_pb2.Call(command=call) for call in calls]
            response = kv.Execute(kv_pb2.ExecuteRequest(calls=calls), timeout=20)
            assert len(response.results) == len(calls)
            return [result.reply for result in response.results]

        key = f"python-{number}".encode()
        put = types_pb2.Command(put=types_pb2.Put(key=key, value=b"\xff\x00"))
        get = types_pb2.Command(get=types_pb2.Get(key=key))
        written, read = execute(put, get)
        assert read.record.record.value == b"\xff\x00"
        assert read.record.record.revision == written.written.revision
        absent = types_pb2.Condition(absent=True)
        (refused,) = execute(types_pb2.Command(put=types_pb2.Put(key=key, condition=absent)))
        assert refused.condition_failed.current.value == b"\xff\x00"

        # The same request twice takes effect once, and is answered as the first time.
        id = types_pb2.RequestId(session=secrets.token_bytes(16), number=1, unanswered_from=1)
        more = types_pb2.Command(increment=types_pb2.Increment(key=key + b"-count", by=5))
        first = execute(kv_pb2.Call(id=id, command=more))
        id.retry = True
        again = execute(kv_pb2.Call(id=id, command=more))
        assert first[0].number.value == again[0].number.value == 5

        def requests():
            for tag in range(100):
                command = types_pb2.Command(increment=types_pb2.Increment(key=key + b"-stream", by=1))
                yield kv_pb2.ExecuteRequest(tag=tag, calls=[kv_pb2.Call(command=command)])

        answers = {answer.tag: answer.results[0].reply.number.value for answer in kv.Stream(requests(), timeout=20)}
        assert set(answers) == set(range(100)) and set(answers.values()) == set(range(1, 101))

        status = admin_pb2_grpc.AdminStub(channel).Status(admin_pb2.StatusRequest(), timeout=20)
        assert status.health == "ok" and len(status.radiants) == len(doors), status
    for channel in channels:
        channel.close()


if __name__ == "__main__":
    what, how, *doors = sys.argv[1:]
    if what == "grpc":
        grpc(how, doors)
    else:
        {"redis": plain, "cluster": cluster, "through": through}[what](int(how), doors)
