/** Tests of the checker, and the short form of what it is for. */
@NullMarked
package io.github.repmgrjdbc.histories;

import org.jspecify.annotations.NullMarked;
