package main

import (
	"errors"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/redisurl"
	"github.com/picket-edr/picket/internal/store/mongostore"
)

// mongoStore looks at a store on MongoDB and at its server.
func (d *doctor) mongoStore() {
	r, err := mongostore.Diagnose(d.ctx, d.place.engine)
	if err != nil {
		d.bad("store", mongoHint(err), "%v", err)
		return
	}
	ws := r.Warnings()
	for _, w := range ws {
		d.bad("mongo", w.Hint, "%s", w.Text)
	}
	switch {
	case !r.Initialized:
		d.bad("store", "picket serve --store makes it at its first start", "%s", r)
	default:
		d.ok("store", "%s", r)
	}
}

// mongoHint says what to do about a store that could not be opened; "" where
// the error says all there is.
func mongoHint(err error) string {
	switch {
	case errors.Is(err, picket.ErrInvalid):
		return uriHint
	case errors.Is(err, mongostore.ErrAccessDenied):
		return "the user needs readWrite on picket's database, and the URI ?authSource= where the user is of another"
	case errors.Is(err, picket.ErrConflict):
		return "name a database of picket's own in the URI, as in mongodb://host:27017/picket"
	case errors.Is(err, picket.ErrUnavailable):
		return "is MongoDB running there, has its replica set a primary, and does the URI name what it needs (replicaSet=, tls=true)?"
	}
	return ""
}

// cache looks whether the Redis of the console's figures answers.
func (d *doctor) cache() {
	if d.cacheName == "memory" {
		return
	}
	place, err := redisurl.Parse(d.cacheName)
	if err != nil {
		d.bad("cache", "a URL is as in redis://host:6379/1", "%v", err)
		return
	}
	client := place.Connect()
	defer client.Close()
	if err := client.Ping(d.ctx).Err(); err != nil {
		d.bad("cache", "is Redis running there? Until it is, each server works the console's figures out for itself", "%s: %v", place, err)
		return
	}
	d.ok("cache", "%s answers", place)
}
