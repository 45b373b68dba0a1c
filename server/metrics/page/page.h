#ifndef LAZYNORM_SERVER_METRICS_PAGE_PAGE_H_
#define LAZYNORM_SERVER_METRICS_PAGE_PAGE_H_

namespace lazynorm {

// index.html: live charts of every model, drawn from /metrics. Needs nothing from elsewhere.
extern const char kPage[];

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_METRICS_PAGE_PAGE_H_
