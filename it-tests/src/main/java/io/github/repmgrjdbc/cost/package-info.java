/** What the driver costs when nothing is wrong: benchmarks and a load tool. */
@NullMarked
package io.github.repmgrjdbc.cost;

import org.jspecify.annotations.NullMarked;
