// Package celery encodes and decodes what Celery stores in Redis: tasks (protocol version
// 2), results, events and remote control. It converts between bytes and values, with the
// standard library only and without a Redis client: the caller transfers the bytes, and
// [Keys] has the names of keys and channels.
//
//	producer: LPUSH keys.List(queue, priority) task.Append(nil)
//	worker:   task, err := decoder.Decode(message)               // what to run, or why not
//	          PUBLISH keys.EventChannel("task-multi") AppendEvents(nil, events)
//	          SETEX keys.Result(task.ID), PUBLISH the same       // result.Append(nil)
//
// Python producers, `.get()`, `celery inspect` and Flower cannot distinguish a program
// that uses this package from one in Python. The formats are those of Celery 5.6.2 with
// kombu 5.6.2, from captures and from the sources that the comments name. Messages of
// Celery 4.0 and later can be decoded.
//
// Links, chains and chords are not interpreted: a worker must refuse a task that has
// [Task.FollowUps], or what follows it is lost.
//
// Only JSON is supported. Anything else (pickle, protocol 1, compression bombs) is a
// [DecodeError] that says what to change in the producer. Arguments stay JSON as Python
// wrote it, which may contain NaN and kombu's typed values; [NormalizeJSON] converts it to
// standard JSON.
//
// Values are plain data for one goroutine at a time. A [Decoder], a [Clock] and Keys are
// safe for concurrent use.
package celery
