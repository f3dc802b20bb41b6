// Command ferretdb serves MongoDB's protocol on a loopback address out of a
// directory of SQLite files, for tests of picket's MongoDB store where there is
// no MongoDB. It ends when its standard input does, so that it can't outlive
// the test that started it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`ADDR` to listen on")
	dir := flag.String("dir", "", "`DIR` of the SQLite files")
	quick := flag.Bool("quick", false, "do not wait for the disk")
	flag.Parse()
	if err := serve(*listen, *dir, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(listen, dir string, quick bool) error {
	pragmas := url.Values{"_pragma": {"journal_mode(wal)", "busy_timeout(10000)"}}
	if quick {
		pragmas.Add("_pragma", "synchronous(off)")
	}
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: (&url.URL{Scheme: "file", OmitHost: true, Path: dir + "/", RawQuery: pragmas.Encode()}).String(),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin) // until the other end is closed
		stop()
	}()
	go fmt.Println(f.MongoDBURI()) // it waits for the listener, which Run makes
	return f.Run(ctx)
}
