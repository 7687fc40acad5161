%% The same frames through Erlang's ports, {packet, 4}: two workers, one message in flight to each.
%%
%%     erl -noshell -run workers_port main ECHO BYTES MESSAGES
-module(workers_port).
-export([main/1]).

main([Echo, Bytes0, Messages0]) ->
    Message = binary:copy(<<"x">>, list_to_integer(Bytes0)),
    Each = list_to_integer(Messages0) div 2,
    Self = self(),
    Ports = [spawn_link(fun() -> worker(Self, Echo, Message, Each) end) || _ <- [1, 2]],
    [receive {ready, P} -> ok end || P <- Ports],
    Start = erlang:monotonic_time(nanosecond),
    [P ! go || P <- Ports],
    [receive {done, P} -> ok end || P <- Ports],
    Took = (erlang:monotonic_time(nanosecond) - Start) / 1.0e9,
    io:format("rows_per_s ~f~n", [2 * Each / Took]),
    halt(0).

%% The first round trip waits for the worker to start.
worker(Main, Echo, Message, Each) ->
    Port = open_port({spawn_executable, Echo}, [{args, ["raw"]}, {packet, 4}, binary]),
    loop(Port, Message, 1),
    Main ! {ready, self()},
    receive go -> ok end,
    loop(Port, Message, Each),
    Main ! {done, self()},
    receive never -> port_close(Port) end.

loop(_, _, 0) -> ok;
loop(Port, Message, N) ->
    port_command(Port, Message),
    receive {Port, {data, Data}} when byte_size(Data) =:= byte_size(Message) -> loop(Port, Message, N - 1) end.
