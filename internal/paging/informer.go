// Package paging fills a cache from an API server without ever holding all untransformed objects in
// memory.
package paging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// pageSize is the number of objects in a page, as in kubectl.
const pageSize = 500

// NewInformer returns an informer that applies its transform to each page of a list when it
// receives the page. It is meant for the option NewInformer of a cache.
//
// If the API server streams lists (WatchList: by default Kubernetes 1.32, and 1.34 and newer),
// client-go transforms one object after the other and lists nothing. From other API servers,
// client-go reads all objects in one response and transforms them afterwards, so all decoded
// objects are in memory at once. Its page size has no effect, because it requests any version of
// the objects (resourceVersion 0), for which the API server ignores the limit. NewInformer requests
// the newest version in pages.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
//
// The transform is also applied to its own results, so it must be idempotent.
func NewInformer(
	from toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	pages := &pages{from: toolscache.ToListerWatcherWithContext(from)}
	listWatch := &toolscache.ListWatch{ListWithContextFunc: pages.list, WatchFuncWithContext: pages.from.WatchWithContext}
	shared := toolscache.NewSharedIndexInformer(listWatch, example, resync, indexers)
	return &informer{SharedIndexInformer: shared, pages: pages}
}

// informer passes its transform to pages.
type informer struct {
	toolscache.SharedIndexInformer

	pages *pages
}

// SetTransform is part of toolscache.SharedInformer.
func (i *informer) SetTransform(transform toolscache.TransformFunc) error {
	if err := i.SharedIndexInformer.SetTransform(transform); err != nil {
		return err
	}
	i.pages.transform = transform
	return nil
}

// pages reads lists. Its transform must not be set after the informer starts.
type pages struct {
	from      toolscache.ListerWatcherWithContext
	transform toolscache.TransformFunc
}

// list returns all objects, transformed. If a list takes so long that its version expires, it
// fails, and the informer starts again. The pager's own fallback is a list without pages.
func (p *pages) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	reader := pager.ListPager{PageSize: pageSize, PageFn: p.page}
	all, _, err := reader.List(ctx, options)
	return all, err
}

func (p *pages) page(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	page, err := p.from.ListWithContext(ctx, options)
	if err != nil || p.transform == nil {
		return page, err
	}
	metadata, err := meta.ListAccessor(page)
	if err != nil {
		return nil, fmt.Errorf("read a page of a list: %w", err)
	}
	kept := &internalversion.List{Items: make([]runtime.Object, 0, meta.LenList(page))}
	kept.ResourceVersion, kept.Continue = metadata.GetResourceVersion(), metadata.GetContinue()
	// Copies are necessary: otherwise an object that the transform returns unchanged would keep its
	// whole page in memory.
	err = meta.EachListItemWithAlloc(page, func(object runtime.Object) error {
		transformed, err := p.transform(object)
		if err != nil {
			return err
		}
		item, ok := transformed.(runtime.Object)
		if !ok {
			return errors.New("a transform returned something that is not an object")
		}
		kept.Items = append(kept.Items, item)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("transform the objects of a page: %w", err)
	}
	return kept, nil
}
