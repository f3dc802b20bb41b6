// Package celery reads and writes what Celery puts on Redis: tasks (protocol
// version 2), results, events and remote control. It is bytes to values and
// back, on the standard library alone and without a Redis client: the caller
// moves the bytes, and [Keys] says where to.
//
//	producer: LPUSH keys.List(queue, priority) task.Append(nil)
//	worker:   task, err := decoder.Decode(message)               // what to run, or why not
//	          PUBLISH keys.EventChannel("task-multi") AppendEvents(nil, events)
//	          SETEX keys.Result(task.ID), PUBLISH the same       // result.Append(nil)
//	          LPUSH the tasks of task.FollowUpTasks(result.Value)         // links, the rest of a chain
//
// A Python producer, `.get()`, `celery inspect` and Flower can't tell a program
// that uses this package from one in Python. The formats are those of Celery
// 5.6.2 with kombu 5.6.2, captured and read in the sources, which the comments
// name; what Celery 4.0 and later send is read too.
//
// Only JSON is read. Reason is refused (pickle, protocol 1, bombs) is refused with
// a [DecodeError] that says what to set in the producer, and nothing is ever
// guessed. Arguments stay JSON as Python wrote it, which may hold NaN and
// kombu's typed values: [NormalizeJSON] turns it into what encoding/json reads.
//
// Values are plain data, for one goroutine at a time; a [Decoder], a [Clock] and
// Keys may be shared.
package celery
