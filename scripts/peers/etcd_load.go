// A closed-loop load on etcd over its own client, to stand beside `moonclave bench` in one run (scripts/bench --peers).
// Built by scripts/bench from Debian's golang-go and golang-etcd-server-dev; not part of the product.
//
//	etcd_load ENDPOINTS CLIENTS SIZE SECONDS put|get
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: etcd_load ENDPOINTS CLIENTS SIZE SECONDS put|get")
		os.Exit(2)
	}
	endpoints := strings.Split(os.Args[1], ",")
	clients, size, seconds := number(os.Args[2]), number(os.Args[3]), number(os.Args[4])
	reads := os.Args[5] == "get"
	value := strings.Repeat("v", size)

	warm := time.Now().Add(time.Second)
	end := warm.Add(time.Duration(seconds) * time.Second)
	latencies := make([][]time.Duration, clients)
	failed := make([]int, clients)
	var group sync.WaitGroup
	for c := 0; c < clients; c++ {
		group.Add(1)
		go func(c int) {
			defer group.Done()
			client, err := clientv3.New(clientv3.Config{Endpoints: endpoints[c%len(endpoints) : c%len(endpoints)+1],
				DialTimeout: 5 * time.Second})
			if err != nil {
				panic(err)
			}
			defer client.Close()
			for i := 0; ; i++ {
				began := time.Now()
				if began.After(end) {
					return
				}
				key := fmt.Sprintf("key-%06d", (i*clients+c)%10000)
				if reads {
					_, err = client.Get(context.Background(), key)
				} else {
					_, err = client.Put(context.Background(), key, value)
				}
				if err != nil {
					failed[c]++
				} else if began.After(warm) {
					latencies[c] = append(latencies[c], time.Since(began))
				}
			}
		}(c)
	}
	group.Wait()

	var all []time.Duration
	failures := 0
	for c := range latencies {
		all = append(all, latencies[c]...)
		failures += failed[c]
	}
	if len(all) == 0 {
		fmt.Println("etcd: nothing succeeded")
		os.Exit(1)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(p float64) float64 { return float64(all[int(p*float64(len(all)-1))].Microseconds()) / 1000 }
	fmt.Printf("%-10s %4d clients  %9.0f/s  p50 %8.3f ms  p99 %8.3f ms  errors %d\n", os.Args[5], clients,
		float64(len(all))/float64(seconds), at(0.50), at(0.99), failures)
}
